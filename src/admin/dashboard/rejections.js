// The latest rejected messages: time, error code, sender and field paths, never their content.

import { element } from './formats.js';

/** Maximum number shown; the broker keeps more. */
const MAX_SHOWN = 12;

/** @param {HTMLElement} list @param {object[]} rejections the newest first */
export function renderRejections(list, rejections) {
  if (rejections.length === 0) {
    list.replaceChildren(element('li', 'None so far', 'nothing'));
    return;
  }
  list.replaceChildren(
    ...rejections.slice(0, MAX_SHOWN).map((rejection) => {
      const { at, code, messageType, crawlerId, connectionId, line, offset, issues } = rejection;
      const item = element('li');
      const time = element('time', new Date(at).toLocaleTimeString('en-GB'));
      time.dateTime = new Date(at).toISOString();
      const place = offset === undefined ? '' : `at byte ${offset.toLocaleString('en-US')}`;
      const details = issues.map((issue) => `${issue.path || 'the message'}: ${issue.code}`).join(', ');
      item.append(
        time,
        element('span', code, 'code'),
        element('span', `${crawlerId ?? connectionId}, line ${line.toLocaleString('en-US')}`, 'where'),
        element('span', [messageType, place, details].filter(Boolean).join(' – '), 'where'),
      );
      return item;
    }),
  );
}
