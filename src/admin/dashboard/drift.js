// How messages differ from the schemas, and which crawlers send them.

import { createList, element, setText } from './elements.js';
import { formatClock } from './formats.js';

/** The entry of an empty list. */
const NOTHING = {};
/** Maximum number of crawlers named in an entry. */
const MAX_NAMES = 3;

const KINDS = {
  unknown_key: 'unknown key',
  unknown_value: 'unknown value',
  unexpected_type: 'unexpected type',
  unknown_type: 'unknown message type',
};

/**
 * @param {HTMLElement} list
 * @returns a function that shows these differences, the latest seen first
 */
export function createDrift(list) {
  const show = createList(list, {
    keyOf: ({ kind, messageType, path, value }) => JSON.stringify([kind, messageType, path, value]),
    create: (entry) => (entry === NOTHING ? element('li', 'None so far', 'nothing') : itemOf(entry)),
    update: (item, entry) => {
      if (entry === NOTHING) return;
      setText(item.querySelector('time'), formatClock(entry.lastSeen));
      setText(item.querySelector('.senders'), sendersOf(entry));
    },
  });
  return (entries) => show(entries.length === 0 ? [NOTHING] : entries);
}

function itemOf({ kind, messageType, path, value }) {
  const item = element('li');
  const place = [messageType, path].filter(Boolean).join(' ');
  item.append(
    element('time'),
    element('span', KINDS[kind] ?? kind, 'code'),
    element('span', '', 'where senders'),
    element('span', value === undefined ? place : `${place} = ${value}`, 'where'),
  );
  return item;
}

function sendersOf({ sources, hasMoreSources, firstSeen }) {
  const names = sources.slice(0, MAX_NAMES).map(({ id }) => id);
  const others = sources.length - names.length;
  const more = hasMoreSources ? ' and many more' : others > 0 ? ` and ${others} more` : '';
  return `${names.join(', ')}${more}, since ${formatClock(firstSeen)}`;
}
