// The jobs whose latest message the broker keeps, by pages and search.

import { createList, element, nothingRow, setText } from './elements.js';
import { formatAge, formatCount, formatShare } from './formats.js';
import { createPages } from './pages.js';

/** The row of an empty table. */
const NOTHING = {};
const COLUMNS = 6;

/**
 * @param {HTMLElement} body
 * @param {{ note: HTMLElement, search: HTMLInputElement, previous: HTMLButtonElement, next: HTMLButtonElement,
 *   download: HTMLAnchorElement }} parts
 */
export function createJobs(body, parts) {
  let emptyText = '';
  const showRows = createList(body, {
    keyOf: ({ jobId = '' }) => jobId,
    create: (job) => (job === NOTHING ? nothingRow(emptyText, COLUMNS) : createRow()),
    update: (row, job) => {
      if (job === NOTHING) setText(row.firstChild, emptyText);
      else updateRow(row, job);
    },
  });
  const show = ({ rows, isKept }) => {
    emptyText = isKept
      ? 'No jobs'
      : 'The broker does not keep the latest messages of jobs: maxLastValues is 0';
    // Jobs whose ID is unknown cannot be told from each other: each has its place as its key.
    const named = rows.map((job, at) => ({ ...job, jobId: job.jobId ?? `unknown ${at}` }));
    showRows(rows.length === 0 ? [NOTHING] : named);
  };
  const pages = createPages('api/jobs', parts, show);
  pages.onSearch(() => pages.open(0));
  pages.open();
}

function createRow() {
  const row = element('tr');
  row.append(
    element('td', '', 'text'),
    element('td', '', 'text'),
    element('td', '', 'text minor'),
    element('td', '', 'text minor'),
    element('td'),
    element('td'),
  );
  return row;
}

function updateRow({ cells }, { jobId, state, type, owner, processed, total, age }) {
  const texts = [jobId, state, type, owner ?? '–', progressOf(processed, total), `${formatAge(age)} ago`];
  for (const [at, text] of texts.entries()) setText(cells[at], text);
  for (const cell of [cells[0], cells[3]]) if (cell.title !== cell.textContent) cell.title = cell.textContent;
}

function progressOf(processed, total) {
  if (processed === null) return '–';
  const share = total > 0 ? ` (${formatShare(processed / total)})` : '';
  return `${formatCount(processed)}${total === null ? '' : ` of ${formatCount(total)}`}${share}`;
}
