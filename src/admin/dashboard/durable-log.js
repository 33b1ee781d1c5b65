// The durable log: what is stored, whether the disk works, and how far the cursors are behind.

import { createFigures, createList, element, nothingRow, setClass, setText } from './elements.js';
import { formatBytes, formatCount, formatLatency, formatShort } from './formats.js';

/** The entry of an empty list. */
const NOTHING = {};

/**
 * @param {{ section: HTMLElement, figures: HTMLElement, cursors: HTMLElement, note: HTMLElement }} parts
 * @returns a function that shows the log, or hides the section if there is none
 */
export function createDurableLog({ section, figures, cursors, note }) {
  const showFigures = createFigures(figures);
  const showCursors = createList(cursors, {
    // Names are not empty.
    keyOf: ({ name = '' }) => name,
    create: (cursor) => (cursor === NOTHING ? nothingRow('No cursors', 2) : rowOf(cursor)),
    update: (row, cursor) => {
      if (cursor !== NOTHING) setText(row.lastChild, formatCount(cursor.behind));
    },
  });
  return (log) => {
    section.hidden = log === undefined;
    if (log === undefined) return;
    showFigures([
      ['Disk', log.isAvailable ? 'works' : 'does not work'],
      ['Stored messages', formatShort(log.messages)],
      ['Size on disk', formatBytes(log.bytes)],
      ['Waiting for the disk', formatBytes(log.pendingBytes)],
      ['Average sync time', formatLatency(log.syncTime)],
      ['Failures of the disk', formatShort(log.failures)],
      ['Forwarded without being stored', formatShort(log.messagesPassed)],
    ]);
    setClass(figures, log.isAvailable ? '' : 'failing');
    showCursors(log.cursorsTotal === 0 ? [NOTHING] : log.cursors);
    const { length } = log.cursors;
    const isPartial = log.cursorsTotal > length;
    setText(
      note,
      isPartial ? `${length} of ${formatCount(log.cursorsTotal)} cursors: the furthest behind` : '',
    );
  };
}

function rowOf({ name }) {
  const row = element('tr');
  const cell = element('td', name, 'text');
  cell.title = cell.textContent;
  row.append(cell, element('td'));
  return row;
}
