// The work groups: their members, and the messages that are not done.

import { createList, element, setText } from './elements.js';
import { formatCount } from './formats.js';

/**
 * @param {{ section: HTMLElement, body: HTMLElement, note: HTMLElement }} parts
 * @returns a function that shows the groups of a durable log, or hides the section if there are none
 */
export function createWorkGroups({ section, body, note }) {
  const showRows = createList(body, { keyOf: ({ name }) => name, create: rowOf, update: updateRow });
  return ({ workGroups = [], workGroupsTotal = 0 } = {}) => {
    section.hidden = workGroups.length === 0;
    showRows(workGroups);
    const isPartial = workGroupsTotal > workGroups.length;
    setText(note, isPartial ? `${workGroups.length} of ${formatCount(workGroupsTotal)}: the busiest` : '');
  };
}

function rowOf({ name }) {
  const row = element('tr');
  const cell = element('td', name, 'text');
  cell.title = cell.textContent;
  row.append(cell, element('td'), element('td'), element('td'));
  return row;
}

function updateRow({ cells }, { members, held, waiting }) {
  for (const [at, count] of [members, held, waiting].entries()) setText(cells[at + 1], formatCount(count));
}
