// One dead letter, in a dialog over the page.

import { createFigures, element, setClass, setText } from './elements.js';
import { formatBytes } from './formats.js';
import { post } from './token.js';

const TIME = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });
const NO_SAMPLE = 'Shown only if the broker has the option feed, with a token if it has any.';

/**
 * @param {{ dialog: HTMLDialogElement, title: HTMLElement, figures: HTMLElement, issues: HTMLElement, sample: HTMLElement,
 *   commands: HTMLElement, close: HTMLButtonElement, retry: HTMLButtonElement, drop: HTMLButtonElement,
 *   result: HTMLElement }} parts
 * @param {() => void} onRemoved
 * @returns functions that open a dead letter, and update it if it is the one that is shown
 */
export function createDeadLetter(parts, onRemoved) {
  const { dialog, title, figures, issues, sample, commands, close, retry, drop, result } = parts;
  const showFigures = createFigures(figures);
  /** The one that is shown. */
  let id;

  const showSample = (letter) => {
    setText(sample, letter.sample ?? NO_SAMPLE);
    setClass(sample, letter.sample === undefined ? 'quiet' : 'sample');
  };

  const show = (letter) => {
    id = letter.id;
    setText(title, `Dead letter ${id}`);
    setText(result, '');
    drop.disabled = false;
    // What is not kept whole cannot be sent again.
    retry.disabled = !letter.isWhole;
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
    showSample(letter);
    const actions = letter.isWhole ? ['show', 'retry'] : ['show'];
    commands.replaceChildren(...actions.map((action) => commandOf(action, id)));
    dialog.showModal();
  };

  /** @param {'drop' | 'retry'} action */
  const take = async (action) => {
    const taken = id;
    setText(result, '');
    const { error, failed = [] } = await post(`api/dead-letters/${action}`, { ids: [taken] });
    const reason = error ?? failed[0]?.error;
    if (reason === undefined) onRemoved();
    if (taken !== id) return;
    if (reason === undefined) {
      drop.disabled = true;
      retry.disabled = true;
    }
    setText(result, reason ?? `Done: ${action}`);
  };
  drop.addEventListener('click', () => take('drop'));
  retry.addEventListener('click', () => take('retry'));
  close.addEventListener('click', () => dialog.close());
  // A click beside it.
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog) dialog.close();
  });
  return {
    open: show,
    update: (letter) => {
      if (letter.id === id) showSample(letter);
    },
  };
}

function commandOf(action, id) {
  const item = element('li');
  item.append(element('code', `sluice dead ${action} FOLDER ${id}`));
  return item;
}
