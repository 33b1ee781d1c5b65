// Rejected messages by type, path and code, each with a line of the last hour.

import { createList, element, nothingRow, setText } from './elements.js';
import { formatClock, formatShort } from './formats.js';

const SVG = 'http://www.w3.org/2000/svg';
/** Size of a line, in its own units: one per minute, and its height. */
const [WIDTH, HEIGHT] = [60, 16];
/** The row of an empty table. */
const NOTHING = {};

/**
 * @param {HTMLElement} body
 * @returns a function that shows these groups, in order
 */
export function createRejectionGroups(body) {
  const show = createList(body, {
    keyOf: ({ code, messageType, path, issue }) => JSON.stringify([code, messageType, path, issue]),
    create: (group) => (group === NOTHING ? nothingRow('None so far', 6) : rowOf(group)),
    update: (row, group) => {
      if (group !== NOTHING) updateRow(row, group);
    },
  });
  return (groups) => show(groups.length === 0 ? [NOTHING] : groups);
}

function rowOf({ code, messageType, path, issue }) {
  const row = element('tr');
  const place = [path, issue].filter(Boolean).join(': ');
  row.append(
    element('td', code, 'text code'),
    element('td', messageType ?? '–', 'text'),
    element('td', place || '–', 'text minor'),
    element('td'),
    element('td'),
    element('td', '', 'minor'),
  );
  for (const cell of row.children) cell.title = cell.textContent;
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('class', 'spark');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.append(document.createElementNS(SVG, 'path'));
  row.children[3].append(svg);
  return row;
}

function updateRow(row, { counts, total, lastSeen }) {
  const [, , , line, totalCell, seenCell] = row.children;
  const max = Math.max(...counts, 1);
  const points = counts.map(
    (count, at) => `${at + 0.5} ${(HEIGHT - 1 - (count / max) * (HEIGHT - 2)).toFixed(1)}`,
  );
  const svg = line.firstChild;
  svg.firstChild.setAttribute('d', `M${points.join('L')}`);
  const hour = counts.reduce((sum, count) => sum + count, 0);
  svg.setAttribute(
    'aria-label',
    `${formatShort(hour)} in the last hour, at most ${formatShort(max)} per minute`,
  );
  setText(totalCell, formatShort(total));
  setText(seenCell, formatClock(lastSeen));
}
