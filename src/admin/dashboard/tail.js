// A live tail: forwarded messages as they come, the newest first.

import { element, setText } from './elements.js';
import { formatBytes, formatClock, formatCount } from './formats.js';
import { authorization, NO_ANSWER } from './token.js';

/** Maximum number of messages shown. */
const MAX_LINES = 200;
const FIELDS = ['types', 'jobs', 'crawlers', 'rate'];

/**
 * @param {{ form: HTMLFormElement, start: HTMLButtonElement, note: HTMLElement, list: HTMLElement }} parts
 */
export function createTail({ form, start, note, list }) {
  /** Of the stream, once it was started; aborted while the page is hidden. */
  let running;
  let leftOut = 0;

  const stop = () => {
    running?.abort();
    running = undefined;
    setText(start, 'Start');
    start.setAttribute('aria-pressed', 'false');
  };

  const receive = ({ event, data }) => {
    if (event === 'left_out') {
      leftOut += data.count;
      setText(note, `${formatCount(leftOut)} left out`);
    } else {
      list.prepend(lineOf(data));
      while (list.childElementCount > MAX_LINES) list.lastChild.remove();
    }
  };

  const run = async () => {
    const controller = new AbortController();
    running = controller;
    leftOut = 0;
    setText(start, 'Pause');
    start.setAttribute('aria-pressed', 'true');
    setText(note, 'connecting');
    const { signal } = controller;
    try {
      const reply = await fetch(`api/tail?${queryOf(form)}`, { headers: authorization(), signal });
      if (!reply.ok) throw new Error((await reply.json().catch(() => undefined))?.error ?? NO_ANSWER);
      setText(note, 'running');
      for await (const event of eventsOf(reply.body)) receive(event);
      throw new Error('the broker has ended the stream');
    } catch (error) {
      if (!signal.aborted) setText(note, error.message);
    }
    if (running === controller && !signal.aborted) stop();
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (running === undefined) void run();
    else {
      stop();
      setText(note, 'paused');
    }
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) running?.abort();
    else if (running?.signal.aborted) void run();
  });
}

function queryOf(form) {
  const query = new URLSearchParams();
  for (const name of FIELDS) {
    const value = form.elements[name].value.replaceAll(' ', '');
    if (value !== '') query.set(name, value);
  }
  return query;
}

/** The events of a stream: `{ event, data }`. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s)));
      if (fields.data !== undefined) yield { event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

function lineOf({ at, crawlerId, connectionId, type, bytes, text }) {
  const item = element('li');
  item.append(
    element('time', formatClock(at)),
    element('span', type, 'code'),
    element('span', `${crawlerId ?? connectionId}, ${formatBytes(bytes)}`, 'where'),
    element('code', text, 'where'),
  );
  return item;
}
