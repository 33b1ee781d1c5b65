// The fleet: whether its engine is connected, and what each host has received and not forwarded yet.

import { createFigures, createList, element, setClass, setText } from './elements.js';
import { formatAge, formatBytes, formatCount, formatShort } from './formats.js';

/** Hosts report themselves every 2 s. In ms. */
const SILENT = 10_000;

/**
 * @param {{ section: HTMLElement, figures: HTMLElement, hosts: HTMLElement }} parts
 * @returns a function that shows the fleet, or hides the section if the broker is not part of one
 */
export function createFleet({ section, figures, hosts }) {
  const showFigures = createFigures(figures);
  const showHosts = createList(hosts, {
    keyOf: ({ host }) => host,
    create: rowOf,
    update: updateRow,
  });
  return (fleet) => {
    section.hidden = fleet === undefined;
    if (fleet === undefined) return;
    showFigures([
      ['Engine', fleet.isConnected ? 'connected' : 'not connected'],
      ['This host', fleet.host],
      ['Forwarded messages', formatShort(fleet.messages)],
      ['Forwarded bytes', formatBytes(fleet.bytes)],
      ['Waiting to be forwarded', fleet.lag === undefined ? '–' : formatShort(fleet.lag)],
      ['Too long for the engine', formatShort(fleet.tooLong)],
      ['Rejected messages of the fleet', formatShort(fleet.rejected)],
    ]);
    setClass(figures, fleet.isConnected ? '' : 'failing');
    showHosts(fleet.hosts);
  };
}

function rowOf({ host }) {
  const row = element('tr');
  const cell = element('td', host, 'text');
  cell.title = host;
  row.append(cell, element('td'), element('td'), element('td'), element('td'));
  return row;
}

function updateRow(row, { rate, connections, lag, silentFor }) {
  const [, rateCell, connectionsCell, lagCell, seenCell] = row.children;
  setText(rateCell, formatShort(rate));
  setText(connectionsCell, formatCount(connections));
  setText(lagCell, lag === null ? '–' : formatCount(lag));
  setText(seenCell, silentFor < SILENT ? 'now' : `${formatAge(silentFor)} ago`);
  setClass(row, silentFor < SILENT ? '' : 'failing');
}
