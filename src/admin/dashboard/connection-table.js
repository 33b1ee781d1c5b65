// The table of connections. The button in a column header sorts by that column; pressing it again reverses the order. A
// click on a row opens the connection.

import { createList, element, nothingRow, setClass, setText } from './elements.js';
import { formatAge, formatBytes, formatLatency, formatShort } from './formats.js';

/** The colour of each health, from worst to best. */
const TONES = {
  unhealthy: 'bad',
  dropping: 'bad',
  slow: 'warn',
  degraded: 'warn',
  unknown: 'idle',
  healthy: 'good',
};
const SEVERITIES = Object.keys(TONES);

/** `key` is the field to sort by. Columns with `isMinor` are hidden on narrow screens. */
const COLUMNS = [
  { key: 'crawlerId', title: 'Peer', isText: true, text: (row) => row.crawlerId ?? row.name ?? row.id },
  { key: 'role', title: 'Role', isText: true, isMinor: true, text: (row) => row.role },
  {
    key: 'health',
    title: 'Health',
    isText: true,
    value: (row) => SEVERITIES.indexOf(row.health),
    text: (row) => (row.isPaused && row.health === 'healthy' ? 'paused' : row.health),
    tone: (row) => TONES[row.health],
  },
  { key: 'rateIn', title: 'In/s', text: (row) => formatShort(row.rateIn) },
  { key: 'rateOut', title: 'Out/s', text: (row) => formatShort(row.rateOut) },
  { key: 'pendingBytes', title: 'Pending', isMinor: true, text: (row) => formatBytes(row.pendingBytes) },
  {
    key: 'messagesDropped',
    title: 'Dropped',
    text: (row) => formatShort(row.messagesDropped),
    tone: (row) => (row.isDropping ? 'bad' : undefined),
  },
  { key: 'heartbeatAge', title: 'Heartbeat', isMinor: true, text: (row) => formatAge(row.heartbeatAge) },
  { key: 'latency', title: 'Latency', isMinor: true, text: (row) => formatLatency(row.latency) },
  {
    key: 'messagesRejected',
    title: 'Rejected',
    isMinor: true,
    text: (row) => formatShort(row.messagesRejected),
  },
  { key: 'activeJobs', title: 'Jobs', isMinor: true, text: (row) => formatShort(row.activeJobs) },
];

/** The row of an empty table. */
const NOTHING = { id: '' };

/**
 * @param {HTMLElement} head the header row
 * @param {HTMLElement} body
 * @param {() => void} onSort called when the order has changed
 */
export function createTable(head, body, onSort) {
  let sorting = { key: 'rateIn', descending: true };
  let emptyText = '';
  const showRows = createList(body, {
    keyOf: ({ id }) => id,
    create: (row) => (row === NOTHING ? nothingRow(emptyText, COLUMNS.length) : createRow(row)),
    update: (child, row) => {
      if (row === NOTHING) setText(child.firstChild, emptyText);
      else updateRow(child, row);
    },
  });
  const heads = COLUMNS.map((column) => {
    const cell = element('th', '', classOf(column));
    cell.scope = 'col';
    const button = element('button', column.title);
    button.type = 'button';
    button.addEventListener('click', () => {
      const descending = sorting.key === column.key ? !sorting.descending : !column.isText;
      sorting = { key: column.key, descending };
      markSorted();
      onSort();
    });
    cell.append(button);
    return cell;
  });
  const markSorted = () => {
    COLUMNS.forEach(({ key }, index) => {
      if (key !== sorting.key) heads[index].removeAttribute('aria-sort');
      else heads[index].setAttribute('aria-sort', sorting.descending ? 'descending' : 'ascending');
    });
  };
  head.replaceChildren(...heads);
  markSorted();
  return {
    /** The column and direction: `{ key, descending }`. */
    get sorting() {
      return sorting;
    },
    /** Shows these rows, in order. @param emptyText shown if there are none */
    show(rows, textIfEmpty = 'No connections') {
      emptyText = textIfEmpty;
      showRows(rows.length === 0 ? [NOTHING] : sorted(rows, sorting));
    },
  };
}

function sorted(rows, { key, descending }) {
  const direction = descending ? -1 : 1;
  const { value = (row) => row[key] } = COLUMNS.find((column) => column.key === key);
  return rows.toSorted((a, b) => compare(value(a), value(b)) * direction || compare(a.id, b.id));
}

/** Null is less than any value. */
function compare(a, b) {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  return typeof a === 'string' ? a.localeCompare(b, 'en', { numeric: true }) : a - b;
}

function createRow({ id }) {
  const row = element('tr', '', 'link');
  row.append(...COLUMNS.map(() => element('td')));
  const link = element('a');
  link.href = `#connection=${encodeURIComponent(id)}`;
  row.firstChild.append(link);
  row.addEventListener('click', () => {
    // Not at the end of a selection.
    if (getSelection()?.isCollapsed !== false) link.click();
  });
  link.addEventListener('click', (event) => event.stopPropagation());
  return row;
}

function updateRow({ cells }, row) {
  COLUMNS.forEach((column, index) => {
    const tone = column.tone?.(row);
    setText(index === 0 ? cells[0].firstChild : cells[index], column.text(row));
    setClass(cells[index], [classOf(column), tone && `tone-${tone}`].filter(Boolean).join(' '));
  });
  const title = `${row.role} ${row.id}`;
  if (cells[0].title !== title) cells[0].title = title;
}

function classOf({ isText, isMinor }) {
  return [isText && 'text', isMinor && 'minor'].filter(Boolean).join(' ');
}
