// Pages of a list that the broker keeps, with a search: read again every few seconds while they are shown.

import { setText } from './elements.js';
import { formatCount } from './formats.js';
import { request } from './token.js';

/** Rows of a page. */
const PAGE_ROWS = 100;
/** ms between two requests for the same page. */
const INTERVAL = 2000;
/** A request that took long is repeated after this many times as long, so that an open page costs little. */
const PAUSE_RATIO = 20;
/** Maximum number of rows to download. */
const MAX_DOWNLOAD = 10_000;
/** ms after the latest key until a request. */
const TYPING_DELAY = 250;

/**
 * @param {string} path
 * @param {{ note: HTMLElement, search: HTMLInputElement, previous: HTMLButtonElement, next: HTMLButtonElement,
 *   download: HTMLAnchorElement }} parts
 * @param {(list) => void} show called with each reply: `rows`, `total` and what else it has
 * @param {{ parameters?: () => Record<string, string>, headers?: () => Record<string, string>, interval?: number,
 *   maxOffset?: number, maxDownload?: number }} options further parameters and headers of a request; what the path
 *   allows, if less than the others
 */
export function createPages(
  path,
  { note, search, previous, next, download },
  show,
  {
    parameters = () => ({}),
    headers = () => ({}),
    interval = INTERVAL,
    maxOffset = Number.POSITIVE_INFINITY,
    maxDownload = MAX_DOWNLOAD,
  } = {},
) {
  let offset = 0;
  let timer;
  let isShown = false;
  /** Counts the requests: only the reply to the latest is shown. */
  let latest = 0;

  const query = (part) =>
    new URLSearchParams({
      ...(search.value === '' ? {} : { search: search.value }),
      ...parameters(),
      ...part,
    });

  const read = async () => {
    clearTimeout(timer);
    const wanted = ++latest;
    const startedAt = performance.now();
    download.href = `${path}?${query({ format: 'csv', limit: maxDownload })}`;
    // If there is no answer, the page says so elsewhere.
    const reply = document.hidden
      ? undefined
      : await request(`${path}?${query({ offset, limit: PAGE_ROWS })}`, { headers: headers() });
    if (wanted !== latest || !isShown) return;
    timer = setTimeout(read, Math.max(interval, PAUSE_RATIO * (performance.now() - startedAt)));
    if (reply?.ok === true) showPage(reply.body);
  };

  const showPage = (list) => {
    const { rows, total } = list;
    if (rows.length === 0 && offset > 0) {
      turnTo(Math.max(0, Math.ceil(total / PAGE_ROWS) - 1) * PAGE_ROWS);
      return;
    }
    const isOnlyPage = total <= PAGE_ROWS;
    previous.hidden = isOnlyPage;
    next.hidden = isOnlyPage;
    previous.disabled = offset === 0;
    next.disabled = offset + rows.length >= total || offset + PAGE_ROWS > maxOffset;
    const range = `${formatCount(offset + 1)} to ${formatCount(offset + rows.length)}`;
    setText(note, rows.length === 0 ? '' : `${range} of ${formatCount(total)}`);
    show(list);
  };

  const soon = (listener) => {
    clearTimeout(timer);
    latest++;
    timer = setTimeout(listener, TYPING_DELAY);
  };

  const turnTo = (first) => {
    offset = first;
    void read();
  };
  previous.addEventListener('click', () => turnTo(Math.max(0, offset - PAGE_ROWS)));
  next.addEventListener('click', () => turnTo(offset + PAGE_ROWS));
  return {
    /** Shows the first page, or the current one again. */
    open(first = offset) {
      isShown = true;
      turnTo(first);
    },
    close() {
      isShown = false;
      clearTimeout(timer);
      latest++;
      previous.hidden = true;
      next.hidden = true;
      download.href = `${path}?${query({ format: 'csv', limit: maxDownload })}`;
    },
    /** Calls a function soon after the search has changed. */
    onSearch(listener) {
      search.addEventListener('input', () => soon(listener));
    },
    /** Reads the current page again, soon after the latest call. */
    refresh() {
      if (isShown) soon(read);
    },
  };
}
