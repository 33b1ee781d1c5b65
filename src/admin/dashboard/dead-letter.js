// One dead letter, in a dialog over the page.

import { createFigures, element, setClass, setText } from './elements.js';
import { formatBytes } from './formats.js';
import { post } from './token.js';

const TIME = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });
const NO_SAMPLE = 'Shown only if the broker has the option feed, with a token if it has any.';

/**
 * @param {{ dialog: HTMLDialogElement, title: HTMLElement, figures: HTMLElement, issues: HTMLElement, sample: HTMLElement,
 *   commands: HTMLElement, close: HTMLButtonElement, drop: HTMLButtonElement, result: HTMLElement }} parts
 * @param {() => void} onDropped
 * @returns a function that opens a dead letter
 */
export function createDeadLetter(parts, onDropped) {
  const { dialog, title, figures, issues, sample, commands, close, drop, result } = parts;
  const showFigures = createFigures(figures);
  /** The one that is shown. */
  let id;

  const show = (letter) => {
    id = letter.id;
    setText(title, `Dead letter ${id}`);
    setText(result, '');
    drop.disabled = false;
    showFigures([
      ['Time', TIME.format(letter.at)],
      ['Reason', letter.reason],
      ['Type', letter.messageType ?? '–'],
      ['Sender', letter.crawlerId ?? '–'],
      ['Connection', letter.connectionId],
      ['Work group', letter.group ?? '–'],
      ['Position', letter.position ?? '–'],
      ['Size', formatBytes(letter.bytes)],
      ['Kept', letter.isWhole ? 'the whole message' : 'its beginning'],
    ]);
    const found = letter.issues.map(({ path, code }) => `${path || 'the message'}: ${code}`);
    issues.replaceChildren(...(found.length === 0 ? ['None'] : found).map((text) => element('li', text)));
    setText(sample, letter.sample ?? NO_SAMPLE);
    setClass(sample, letter.sample === undefined ? 'quiet' : 'sample');
    // What is not kept whole cannot be sent again.
    const actions = letter.isWhole ? ['show', 'retry'] : ['show'];
    commands.replaceChildren(...actions.map((action) => commandOf(action, id)));
    dialog.showModal();
  };

  drop.addEventListener('click', async () => {
    const dropped = id;
    setText(result, '');
    const { error } = await post('api/dead-letters/drop', { ids: [dropped] });
    if (error === undefined) onDropped();
    if (dropped !== id) return;
    drop.disabled = error === undefined;
    setText(result, error ?? 'Done: drop');
  });
  close.addEventListener('click', () => dialog.close());
  // A click beside it.
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog) dialog.close();
  });
  return show;
}

function commandOf(action, id) {
  const item = element('li');
  item.append(element('code', `sluice dead ${action} FOLDER ${id}`));
  return item;
}
