// The latest rejected messages: time, error code, sender and field paths, never their content.

import { createList, element } from './elements.js';
import { formatClock } from './formats.js';

/** Maximum number shown; the broker keeps more. */
const MAX_SHOWN = 12;
/** The entry of an empty list. */
const NOTHING = {};

/**
 * @param {HTMLElement} list
 * @returns a function that shows these rejected messages, the newest first
 */
export function createRejections(list) {
  const show = createList(list, {
    // A record never changes.
    keyOf: (rejection) => JSON.stringify(rejection),
    create: (rejection) =>
      rejection === NOTHING ? element('li', 'None so far', 'nothing') : itemOf(rejection),
    update: () => {},
  });
  return (rejections) => show(rejections.length === 0 ? [NOTHING] : rejections.slice(0, MAX_SHOWN));
}

function itemOf({ at, code, messageType, crawlerId, connectionId, line, offset, issues }) {
  const item = element('li');
  const time = element('time', formatClock(at));
  time.dateTime = new Date(at).toISOString();
  const place = offset === null ? '' : `at byte ${offset.toLocaleString('en-US')}`;
  const details = issues.map((issue) => `${issue.path || 'the message'}: ${issue.code}`).join(', ');
  item.append(
    time,
    element('span', code, 'code'),
    element('span', `${crawlerId ?? connectionId}, line ${line.toLocaleString('en-US')}`, 'where'),
    element('span', [messageType, place, details].filter(Boolean).join(' – '), 'where'),
  );
  return item;
}
