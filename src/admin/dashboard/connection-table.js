// The table of connections. The button in a column header sorts by that column; pressing it again reverses the order.

import { element, formatAge, formatLatency, formatNumber, formatSize } from './formats.js';

const TONES = { healthy: 'good', degraded: 'warn', unhealthy: 'bad', unknown: 'idle' };

/** `key` is the field to sort by. Columns with `isMinor` are hidden on narrow screens. */
const COLUMNS = [
  { key: 'crawlerId', title: 'Peer', isText: true, text: (row) => row.crawlerId ?? row.id },
  { key: 'role', title: 'Role', isText: true, isMinor: true, text: (row) => row.role },
  {
    key: 'health',
    title: 'Health',
    isText: true,
    text: (row) => (row.isSlow ? 'slow' : row.isPaused ? 'paused' : row.health),
    tone: (row) => (row.isSlow ? 'warn' : TONES[row.health]),
  },
  { key: 'rateIn', title: 'In/s', text: (row) => formatNumber(row.rateIn) },
  { key: 'rateOut', title: 'Out/s', text: (row) => formatNumber(row.rateOut) },
  { key: 'pendingBytes', title: 'Pending', text: (row) => formatSize(row.pendingBytes) },
  { key: 'heartbeatAge', title: 'Heartbeat', isMinor: true, text: (row) => formatAge(row.heartbeatAge) },
  { key: 'latency', title: 'Latency', isMinor: true, text: (row) => formatLatency(row.latency) },
  {
    key: 'messagesRejected',
    title: 'Rejected',
    isMinor: true,
    text: (row) => formatNumber(row.messagesRejected),
  },
  { key: 'activeJobs', title: 'Jobs', isMinor: true, text: (row) => formatNumber(row.activeJobs) },
];

/**
 * @param {HTMLElement} head the header row
 * @param {HTMLElement} body
 * @returns a function that updates the rows
 */
export function createTable(head, body) {
  let rows = [];
  let sorting = { key: 'rateIn', descending: true };
  const show = () => body.replaceChildren(...sorted(rows, sorting).map(rowElement));
  const heads = COLUMNS.map((column) => {
    const cell = element('th', '', classOf(column));
    cell.scope = 'col';
    const button = element('button', column.title);
    button.type = 'button';
    button.addEventListener('click', () => {
      const descending = sorting.key === column.key ? !sorting.descending : !column.isText;
      sorting = { key: column.key, descending };
      markSorted();
      show();
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
  return (latest) => {
    rows = latest;
    show();
  };
}

function sorted(rows, { key, descending }) {
  const direction = descending ? -1 : 1;
  return rows.toSorted((a, b) => compare(a[key], b[key]) * direction || compare(a.id, b.id));
}

/** Null is less than any value. */
function compare(a, b) {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  return typeof a === 'string' ? a.localeCompare(b, 'en', { numeric: true }) : a - b;
}

function rowElement(row) {
  const tr = element('tr');
  for (const column of COLUMNS) {
    const cell = element('td', column.text(row), classOf(column));
    if (column.tone) cell.classList.add(`tone-${column.tone(row)}`);
    if (column.key === 'crawlerId') cell.title = `${row.role} ${row.id}`;
    tr.append(cell);
  }
  return tr;
}

function classOf({ isText, isMinor }) {
  return [isText && 'text', isMinor && 'minor'].filter(Boolean).join(' ');
}
