// The latest rejected messages: when, why, whose, and where in the message. What was in it is never here.

import { element } from './formats.js';

/** Shown at a time; the broker keeps some more. */
const SHOWN = 12;

/** @param {HTMLElement} list @param {object[]} rejections the newest first */
export function renderRejections(list, rejections) {
  if (rejections.length === 0) {
    list.replaceChildren(element('li', 'None so far', 'nothing'));
    return;
  }
  list.replaceChildren(
    ...rejections.slice(0, SHOWN).map((rejection) => {
      const { at, code, messageType, crawlerId, connectionId, line, issues } = rejection;
      const item = element('li');
      const time = element('time', new Date(at).toLocaleTimeString('en-GB'));
      time.dateTime = new Date(at).toISOString();
      const places = issues.map((issue) => `${issue.path || 'the message'}: ${issue.code}`).join(', ');
      item.append(
        time,
        element('span', code, 'code'),
        element('span', `${crawlerId ?? connectionId}, line ${line.toLocaleString('en-US')}`, 'where'),
        element('span', [messageType, places].filter(Boolean).join(' – '), 'where'),
      );
      return item;
    }),
  );
}
