// The dead letters, by pages and search. A click on one opens its details.

import { createDeadLetter } from './dead-letter.js';
import { createList, element, nothingRow } from './elements.js';
import { formatBytes } from './formats.js';
import { createPages } from './pages.js';
import { authorization, onToken } from './token.js';

/** The row of an empty table. */
const NOTHING = {};
/** ms between two requests: the broker reads all of them from the disk. */
const INTERVAL = 10_000;
/** What the path allows. */
const LIMITS = { maxOffset: 10_000, maxDownload: 500 };

const TIME = new Intl.DateTimeFormat('en', {
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});

/**
 * @param {{ section: HTMLElement, body: HTMLElement, note: HTMLElement, search: HTMLInputElement,
 *   previous: HTMLButtonElement, next: HTMLButtonElement, download: HTMLAnchorElement }} parts
 * @param detail parts of the dialog
 * @returns a function that shows the section, or hides it if there is no durable log
 */
export function createDeadLetters({ section, body, ...parts }, detail) {
  let isShown = false;
  const { open, update } = createDeadLetter(detail, () => pages.open());
  const showRows = createList(body, {
    keyOf: ({ id = '' }) => String(id),
    create: (letter) => (letter === NOTHING ? nothingRow('None', 6) : rowOf(letter)),
    update: (row, letter) => {
      if (letter === NOTHING) return;
      // It may now have its beginning, with the token.
      row.querySelector('button').onclick = () => open(letter);
      update(letter);
    },
  });
  const show = ({ rows }) => showRows(rows.length === 0 ? [NOTHING] : rows);
  const pages = createPages('api/dead-letters', parts, show, {
    headers: authorization,
    interval: INTERVAL,
    ...LIMITS,
  });
  pages.onSearch(() => pages.open(0));
  onToken(() => pages.refresh());
  return (hasLog) => {
    if (hasLog === isShown) return;
    isShown = hasLog;
    section.hidden = !hasLog;
    if (hasLog) pages.open();
    else pages.close();
  };
}

function rowOf({ at, reason, messageType, crawlerId, connectionId, group, bytes }) {
  const row = element('tr', '', 'link');
  const button = element('button', TIME.format(at));
  button.type = 'button';
  const time = element('td', '', 'text');
  time.append(button);
  row.append(
    time,
    element('td', reason, 'text code'),
    element('td', messageType ?? '–', 'text'),
    element('td', crawlerId ?? connectionId, 'text minor'),
    element('td', group ?? '–', 'text minor'),
    element('td', formatBytes(bytes), 'minor'),
  );
  for (const cell of row.cells) cell.title = cell.textContent;
  row.addEventListener('click', () => {
    // Not at the end of a selection.
    if (getSelection()?.isCollapsed !== false) button.click();
  });
  button.addEventListener('click', (event) => event.stopPropagation());
  return row;
}
