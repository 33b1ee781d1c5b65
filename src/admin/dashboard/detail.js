// One connection, in a dialog over the page. The fragment of the page's address names it, so that it can be linked, and
// Back closes it.

import { createBars } from './bars.js';
import { createFigures, createList, element, nothingRow, setText } from './elements.js';
import { formatAge, formatBytes, formatCount, formatLatency, formatShort } from './formats.js';
import { NO_ANSWER, post, request } from './token.js';

const FRAGMENT = /^#connection=([^&]+)$/;
/** ms between two requests. */
const INTERVAL = 1000;
/** The row of an empty table. */
const NOTHING = { id: '' };

/**
 * @param {{ dialog: HTMLDialogElement, title: HTMLElement, note: HTMLElement, figures: HTMLElement, codes: HTMLElement,
 *   subscriptions: HTMLElement, close: HTMLButtonElement, actions: HTMLFormElement, result: HTMLElement }} parts
 */
export function createDetail({ dialog, title, note, figures, codes, subscriptions, close, actions, result }) {
  const showFigures = createFigures(figures);
  const showCodes = createBars(codes, 'No rejected messages');
  const showSubscriptions = createList(subscriptions, {
    // An ID is not empty.
    keyOf: ({ id }) => id,
    create: (subscription) =>
      subscription === NOTHING ? nothingRow('No subscriptions', 6) : rowOf(subscription),
    update: () => {},
  });
  /** The connection that is shown. */
  let id;
  let timer;

  const read = async () => {
    const wanted = id;
    const reply = document.hidden
      ? undefined
      : await request(`api/connections/${encodeURIComponent(wanted)}`);
    if (wanted !== id) return;
    timer = setTimeout(read, INTERVAL);
    if (document.hidden) return;
    if (reply?.ok === true) show(reply.body);
    else setText(note, reply?.status === 404 ? 'This connection is closed.' : `${NO_ANSWER}.`);
  };

  const show = (row) => {
    const { subscriptions: list, subscriptionsTotal } = row;
    setText(title, row.crawlerId ?? row.name ?? row.id);
    const isPartial = subscriptionsTotal > list.length;
    setText(note, isPartial ? `${list.length} of ${formatCount(subscriptionsTotal)} subscriptions` : '');
    showFigures([
      ['Connection', row.id],
      ['Role', row.role],
      ['Crawler ID', row.crawlerId ?? '–'],
      ['Program', row.name ?? '–'],
      ['State', row.isPaused ? `${row.state}, reading is paused` : row.state],
      ['Health', row.health],
      ['Connected for', formatAge(row.uptime)],
      ['Silent for', formatAge(row.idleFor)],
      ['Latest heartbeat', row.heartbeatAge === null ? '–' : `${formatAge(row.heartbeatAge)} ago`],
      ['Received', `${formatShort(row.messagesReceived)}, ${formatShort(row.rateIn)}/s`],
      ['Received bytes', formatBytes(row.bytesReceived)],
      ['Delivered', `${formatShort(row.messagesSent)}, ${formatShort(row.rateOut)}/s`],
      ['Delivered bytes', formatBytes(row.bytesSent)],
      ['Control messages', `${formatShort(row.controlReceived)} in, ${formatShort(row.controlSent)} out`],
      ['Rejected', formatShort(row.messagesRejected)],
      ['Dropped', formatShort(row.messagesDropped)],
      ['Overflow policy', row.overflow],
      ['Pending', formatBytes(row.pendingBytes)],
      ['Latency', formatLatency(row.latency)],
      ['Active jobs', formatShort(row.activeJobs)],
      ['Latest error', row.lastError ?? '–'],
    ]);
    showCodes(
      Object.entries(row.rejected).map(([name, value]) => ({ name, value, text: formatShort(value) })),
    );
    // A subscription with the same ID may have been replaced: its content is part of its key.
    showSubscriptions(
      list.length === 0 ? [NOTHING] : list.map((entry) => ({ ...entry, id: JSON.stringify(entry) })),
    );
  };

  const act = async (action) => {
    setText(result, '');
    const { error } = await post(`api/connections/${encodeURIComponent(id)}/${action}`);
    setText(result, error ?? `Done: ${action}`);
  };
  for (const button of actions.querySelectorAll('button'))
    button.addEventListener('click', () => void act(button.value));

  const open = () => {
    clearTimeout(timer);
    const [, encoded] = FRAGMENT.exec(location.hash) ?? [];
    id = encoded === undefined ? undefined : decode(encoded);
    if (id === undefined) return dialog.close();
    setText(title, id);
    setText(note, '');
    setText(result, '');
    showFigures([]);
    showCodes([]);
    showSubscriptions([]);
    if (!dialog.open) dialog.showModal();
    void read();
  };

  dialog.addEventListener('close', () => {
    clearTimeout(timer);
    id = undefined;
    // Without scrolling to the top, as an empty fragment would.
    if (FRAGMENT.test(location.hash)) history.pushState(null, '', location.pathname + location.search);
  });
  close.addEventListener('click', () => dialog.close());
  // A click beside it.
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog) dialog.close();
  });
  addEventListener('hashchange', open);
  addEventListener('popstate', open);
  open();
}

/** The fragment may be anything. */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function rowOf({ id, types, jobIds, crawlerIds, group, cursor }) {
  const row = element('tr');
  const texts = [
    JSON.parse(id).id,
    listOf(types),
    listOf(jobIds),
    listOf(crawlerIds),
    group ?? '–',
    cursor ?? '–',
  ];
  row.append(...texts.map((text) => element('td', text, 'text wrap')));
  return row;
}

/** @param list null: all */
function listOf(list) {
  if (list === null) return 'all';
  const { values, total } = list;
  const rest = total - values.length;
  return rest === 0 ? values.join(', ') : `${values.join(', ')} and ${formatCount(rest)} more`;
}
