// The connections: the notable ones as they arrive with each snapshot, or all of them by pages and search, which are read
// from the broker every few seconds.

import { createTable } from './connection-table.js';
import { setText } from './elements.js';
import { formatCount, formatShort } from './formats.js';

/** Rows of a page. */
const PAGE_ROWS = 100;
/** ms between two requests for the same page. */
const INTERVAL = 2000;
/** ms after the latest key until a search begins. */
const TYPING_DELAY = 250;

/**
 * @param {{ head: HTMLElement, body: HTMLElement, note: HTMLElement, search: HTMLInputElement, all: HTMLButtonElement,
 *   previous: HTMLButtonElement, next: HTMLButtonElement, download: HTMLAnchorElement }} parts
 * @returns a function that shows the connections of a snapshot
 */
export function createConnections({ head, body, note, search, all, previous, next, download }) {
  const table = createTable(head, body, () => show());
  /** The connections of the latest snapshot. */
  let notable = { total: 0, rows: [] };
  let isAll = false;
  let offset = 0;
  let timer;
  /** Counts the requests: only the reply to the latest is shown. */
  let latest = 0;

  const isListed = () => isAll || search.value !== '';
  const parameters = () => {
    const { key, descending } = table.sorting;
    return new URLSearchParams({
      ...(search.value === '' ? {} : { search: search.value }),
      sort: key,
      order: descending ? 'desc' : 'asc',
    });
  };

  const show = () => {
    clearTimeout(timer);
    latest++;
    all.setAttribute('aria-pressed', String(isListed()));
    download.href = `api/connections?format=csv&limit=10000&${parameters()}`;
    if (isListed()) void read();
    else showNotable();
  };

  const showNotable = () => {
    const { total, rows } = notable;
    previous.hidden = true;
    next.hidden = true;
    table.show(rows);
    setText(
      note,
      total > rows.length ? `${rows.length} of ${formatShort(total)}: slow consumers and the busiest` : '',
    );
  };

  const read = async () => {
    const request = ++latest;
    // The page shows by itself that the broker does not answer.
    const reply = await fetch(`api/connections?limit=${PAGE_ROWS}&offset=${offset}&${parameters()}`).catch(
      () => undefined,
    );
    const list = reply?.ok === true ? await reply.json() : undefined;
    if (request !== latest) return;
    timer = setTimeout(read, INTERVAL);
    if (list === undefined) return;
    const { total, rows } = list;
    if (rows.length === 0 && offset > 0) {
      offset = Math.max(0, Math.ceil(total / PAGE_ROWS) - 1) * PAGE_ROWS;
      return show();
    }
    previous.hidden = false;
    next.hidden = false;
    previous.disabled = offset === 0;
    next.disabled = offset + rows.length >= total;
    table.show(rows, search.value === '' ? undefined : 'No connection matches the search');
    const range =
      rows.length === 0 ? '' : `${formatCount(offset + 1)} to ${formatCount(offset + rows.length)} of `;
    setText(note, `${range}${formatCount(total)}`);
  };

  const turn = (pages) => {
    offset = Math.max(0, offset + pages * PAGE_ROWS);
    show();
  };
  previous.addEventListener('click', () => turn(-1));
  next.addEventListener('click', () => turn(1));
  all.addEventListener('click', () => {
    isAll = !isListed();
    if (!isAll) search.value = '';
    offset = 0;
    show();
  });
  search.addEventListener('input', () => {
    clearTimeout(timer);
    latest++;
    offset = 0;
    timer = setTimeout(show, TYPING_DELAY);
  });
  show();
  return (connections) => {
    notable = connections;
    if (!isListed()) showNotable();
  };
}
