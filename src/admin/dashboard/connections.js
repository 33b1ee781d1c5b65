// The connections: the notable ones as they arrive with each snapshot, or all of them by pages and search.

import { createTable } from './connection-table.js';
import { setText } from './elements.js';
import { formatShort } from './formats.js';
import { createPages } from './pages.js';

/**
 * @param {{ head: HTMLElement, body: HTMLElement, note: HTMLElement, search: HTMLInputElement, all: HTMLButtonElement,
 *   previous: HTMLButtonElement, next: HTMLButtonElement, download: HTMLAnchorElement }} parts
 * @returns a function that shows the connections of a snapshot
 */
export function createConnections({ head, body, all, ...parts }) {
  const { note, search } = parts;
  const table = createTable(head, body, () => show());
  const parameters = () => {
    const { key, descending } = table.sorting;
    return { sort: key, order: descending ? 'desc' : 'asc' };
  };
  const showPage = ({ rows }) =>
    table.show(rows, search.value === '' ? undefined : 'No connection matches the search');
  const pages = createPages('api/connections', parts, showPage, { parameters });
  /** The connections of the latest snapshot. */
  let notable = { total: 0, rows: [] };
  let isAll = false;

  const isListed = () => isAll || search.value !== '';
  /** @param first the first row of the page. If omitted, it stays the same. */
  const show = (first) => {
    all.setAttribute('aria-pressed', String(isListed()));
    if (isListed()) return pages.open(first);
    pages.close();
    showNotable();
  };
  const showNotable = () => {
    const { total, rows } = notable;
    table.show(rows);
    setText(
      note,
      total > rows.length ? `${rows.length} of ${formatShort(total)}: slow consumers and the busiest` : '',
    );
  };
  all.addEventListener('click', () => {
    isAll = !isListed();
    if (!isAll) search.value = '';
    show(0);
  });
  pages.onSearch(() => show(0));
  show();
  return (connections) => {
    notable = connections;
    if (!isListed()) showNotable();
  };
}
