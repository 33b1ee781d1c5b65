// Sends a test message to a crawler, or to all of them. Shown once there is a token.

import { setText } from './elements.js';
import { formatCount } from './formats.js';
import { onToken, post } from './token.js';

/**
 * @param {{ section: HTMLElement, form: HTMLFormElement, note: HTMLElement }} parts
 */
export function createTestMessage({ section, form, note }) {
  const { crawler, message, send } = form.elements;
  onToken((hasToken) => {
    section.hidden = !hasToken;
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    setText(note, '');
    const content = parse(message.value);
    if (content === undefined) {
      setText(note, 'The message must be JSON');
      return;
    }
    // A double click sends it once.
    send.disabled = true;
    const crawlerId = crawler.value.trim();
    try {
      const reply = await post('api/messages', {
        ...(crawlerId === '' ? {} : { crawlerId }),
        message: content,
      });
      setText(note, reply.error ?? describe(reply));
    } finally {
      send.disabled = false;
    }
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function describe({ delivered, failed }) {
  const crawlers = delivered === 1 ? '1 crawler' : `${formatCount(delivered)} crawlers`;
  return `Sent to ${crawlers}${failed === 0 ? '' : `, not to ${formatCount(failed)}`}`;
}
