// The page: receives one snapshot per second from /events and shows it.

import { createBars } from './bars.js';
import { createCharts } from './chart-group.js';
import { createConnections } from './connections.js';
import { createDeadLetters } from './dead-letters.js';
import { createDetail } from './detail.js';
import { createDrift } from './drift.js';
import { createDurableLog } from './durable-log.js';
import { createFigures, setText } from './elements.js';
import { createFleet } from './fleet.js';
import {
  formatAge,
  formatBytes,
  formatClock,
  formatLatency,
  formatShare,
  formatShort,
  UNKNOWN,
} from './formats.js';
import { createJobs } from './jobs.js';
import { createRejectionGroups } from './rejection-groups.js';
import { createRejections } from './rejections.js';
import { createTail } from './tail.js';
import { createTestMessage } from './test-message.js';
import { useTokenOf } from './token.js';
import { createWorkGroups } from './work-groups.js';

/** Snapshots arrive every second. Without one for this long, in ms, the page is out of date. */
const STALE_AFTER = 3000;
/** Without a snapshot for this long, in ms, the page opens a new connection: the old one may be dead. */
const RECONNECT_AFTER = 15_000;
/** Delay before the page reconnects if the browser does not, in ms. */
const RETRY_DELAY = 2000;
/** Maximum number of slow consumers shown by name. */
const MAX_SLOW = 20;

const byId = (id) => document.getElementById(id);
const show = (id, text) => setText(byId(id), text);

const charts = createCharts(byId, byId('ranges'), byId('pause'));
const showConnections = createConnections({
  head: byId('columns'),
  body: byId('rows'),
  note: byId('connections-note'),
  search: byId('connections-search'),
  all: byId('connections-all'),
  previous: byId('connections-previous'),
  next: byId('connections-next'),
  download: byId('connections-download'),
});
createJobs(byId('jobs'), {
  note: byId('jobs-note'),
  search: byId('jobs-search'),
  previous: byId('jobs-previous'),
  next: byId('jobs-next'),
  download: byId('jobs-download'),
});
useTokenOf(byId('token'), byId('detail-token'), byId('dead-letter-token'));
createTail({
  form: byId('tail-form'),
  start: byId('tail-start'),
  note: byId('tail-note'),
  list: byId('tail'),
});
createTestMessage({
  section: byId('test-message-section'),
  form: byId('test-message'),
  note: byId('test-message-note'),
});
createDetail({
  dialog: byId('detail'),
  title: byId('detail-title'),
  note: byId('detail-note'),
  figures: byId('detail-figures'),
  codes: byId('detail-codes'),
  subscriptions: byId('detail-subscriptions'),
  close: byId('detail-close'),
  actions: byId('detail-actions'),
  result: byId('detail-result'),
});
const showTypes = createBars(byId('types'), 'No messages yet');
const showCodes = createBars(byId('codes'), 'No rejected messages');
const showSlow = createBars(byId('slow'), 'No slow consumers');
const showRejectionGroups = createRejectionGroups(byId('rejection-groups'));
const showRejections = createRejections(byId('rejections'));
const showDrift = createDrift(byId('drift'));
const showDurableLog = createDurableLog({
  section: byId('durable-log'),
  figures: byId('durable-log-figures'),
  cursors: byId('cursors'),
  note: byId('cursors-note'),
});
const showWorkGroups = createWorkGroups({
  section: byId('work-groups-section'),
  body: byId('work-groups'),
  note: byId('work-groups-note'),
});
const showDeadLetters = createDeadLetters(
  {
    section: byId('dead-letters-section'),
    body: byId('dead-letters'),
    note: byId('dead-letters-note'),
    search: byId('dead-letters-search'),
    previous: byId('dead-letters-previous'),
    next: byId('dead-letters-next'),
    download: byId('dead-letters-download'),
  },
  {
    dialog: byId('dead-letter'),
    title: byId('dead-letter-title'),
    figures: byId('dead-letter-figures'),
    issues: byId('dead-letter-issues'),
    sample: byId('dead-letter-sample'),
    commands: byId('dead-letter-commands'),
    close: byId('dead-letter-close'),
    retry: byId('dead-letter-retry'),
    drop: byId('dead-letter-drop'),
    result: byId('dead-letter-result'),
  },
);
const showFleet = createFleet({
  section: byId('fleet'),
  figures: byId('fleet-figures'),
  hosts: byId('hosts'),
});
const showInternalRows = createFigures(byId('internals'));

function showState(text, tone) {
  show('state', text);
  byId('state').dataset.tone = tone;
}

function showHeader({ readiness, version, address, uptime }) {
  showState(readiness.reason, readiness.ready ? 'good' : 'warn');
  show('about', [address, `up ${formatAge(uptime)}`, `version ${version}`].filter(Boolean).join('  ·  '));
}

function showTiles({ rates, totals, latency, workers, connections }) {
  show('tile-in', formatShort(rates.messagesReceived));
  show('tile-in-note', `${formatBytes(rates.bytesReceived)}/s`);
  show('tile-out', formatShort(rates.messagesSent));
  show('tile-out-note', `${formatBytes(rates.bytesSent)}/s`);
  show('tile-rejected', formatShort(rates.messagesRejected));
  show('tile-rejected-note', `${formatShort(totals.messagesRejected)} total`);
  show('tile-latency', formatLatency(latency.p99));
  show('tile-latency-note', `p50 ${formatLatency(latency.p50)}`);
  show('tile-workers', formatShare(workers.utilization));
  show('tile-workers-note', `${workers.threads} ${workers.threads === 1 ? 'thread' : 'threads'}`);
  byId('meter-workers').style.width = `${workers.utilization * 100}%`;
  show('tile-connections', formatShort(connections.open));
  const roles = Object.entries(connections.byRole).map(([role, count]) => `${count} ${role}`);
  show('tile-connections-note', roles.join(', ') || `limit ${formatShort(connections.capacity)}`);
}

function showInternals({ patterns, memory, flow, eventLoopDelay, workers, totals, rates, connections }) {
  const { hits, misses } = patterns;
  const { controlReceived, controlSent } = rates;
  showInternalRows([
    ['Matched by patterns', hits + misses === 0 ? UNKNOWN : formatShare(hits / (hits + misses))],
    ['Layouts learned', formatShort(patterns.learned)],
    ['Event-loop delay, p99', formatLatency(eventLoopDelay)],
    ['Queued for workers', formatBytes(workers.queuedBytes)],
    ['Undelivered', formatBytes(memory.heldBytes)],
    ['Queued for peers', formatBytes(connections.pendingBytes)],
    ['Messages dropped', formatShort(totals.messagesDropped)],
    ['Control messages', `${formatShort(controlReceived)}/s in, ${formatShort(controlSent)}/s out`],
    ['Reading', flow.isPaused ? `paused for ${formatLatency(flow.pausedFor)}` : 'active'],
    ['Memory', formatBytes(memory.rss)],
  ]);
}

function showBars({ accepted, rates, rejected, connections }, rows) {
  const rateOf = (type) => rates.byType[type] ?? 0;
  showTypes(
    Object.keys(accepted).map((name) => ({
      name,
      value: rateOf(name),
      text: `${formatShort(rateOf(name))}/s`,
    })),
  );
  showCodes(Object.entries(rejected).map(([name, value]) => ({ name, value, text: formatShort(value) })));
  const slow = rows
    .filter(({ isSlow }) => isSlow)
    .sort((a, b) => b.isDropping - a.isDropping || b.pendingBytes - a.pendingBytes)
    .slice(0, MAX_SLOW);
  showSlow(
    slow.map((row) => ({
      key: row.id,
      name: row.crawlerId ?? row.name ?? `${row.role} ${row.id}`,
      value: row.pendingBytes,
      text: [
        row.isDropping ? `${formatShort(row.messagesDropped)} dropped` : '',
        row.pendingBytes > 0 ? `${formatBytes(row.pendingBytes)} behind` : '',
      ]
        .filter(Boolean)
        .join(', '),
    })),
  );
  const others = connections.slow - slow.length;
  show('slow-note', others > 0 ? `and ${formatShort(others)} more` : '');
}

/** The latest statistics, and when they arrived, in ms since 1970. */
let latest;
let arrivedAt;

function showSnapshot({ stats, connections, rejections, drift }) {
  // After an outage, the broker knows what was in between; after its restart, nobody does.
  const isSameBroker = latest !== undefined && stats.uptime >= latest.uptime;
  const isLate = isSameBroker && stats.at - latest.at >= STALE_AFTER;
  const isRestarted = latest !== undefined && !isSameBroker;
  if (latest === undefined || isLate) void charts.load();
  latest = stats;
  arrivedAt = Date.now();
  showFresh();
  charts.add(stats, !isRestarted);
  showHeader(stats);
  showTiles(stats);
  showInternals(stats);
  showBars(stats, connections.rows);
  showDurableLog(stats.durableLog);
  showWorkGroups(stats.durableLog);
  showDeadLetters(stats.durableLog !== undefined);
  showFleet(stats.fleet);
  showConnections(connections);
  showRejectionGroups(rejections.groups);
  showRejections(rejections.latest);
  showDrift(drift);
}

/** Shows clearly that the broker does not answer, and since when the page has not changed. */
function showStale() {
  showState('no answer from the broker', 'bad');
  document.title = 'Sluice – no answer';
  if (arrivedAt === undefined) return;
  document.body.classList.add('stale');
  byId('stale').hidden = false;
  show('stale-since', formatClock(arrivedAt));
  show('stale-age', `(${formatAge(Date.now() - arrivedAt)} ago)`);
}

function showFresh() {
  document.title = 'Sluice';
  document.body.classList.remove('stale');
  byId('stale').hidden = true;
}

let events;
let openedAt = Date.now();
let visibleAt = openedAt;

/** Only while the page is visible: a browser opens at most 6 connections to the broker, for all its tabs together. */
function listen() {
  events?.close();
  events = undefined;
  if (document.hidden) return;
  openedAt = Date.now();
  events = new EventSource('events');
  events.addEventListener('message', ({ data }) => showSnapshot(JSON.parse(data)));
  events.addEventListener('error', ({ target }) => {
    showStale();
    // The browser restores a lost connection by itself, but gives up after an error response.
    if (target === events && events.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_DELAY);
  });
}

listen();
document.addEventListener('visibilitychange', () => {
  visibleAt = Date.now();
  listen();
});
// A broker that hangs does not close the connection.
setInterval(() => {
  if (document.hidden) return;
  const silence = Date.now() - Math.max(arrivedAt ?? 0, openedAt);
  if (silence > RECONNECT_AFTER) listen();
  if (Date.now() - Math.max(arrivedAt ?? 0, visibleAt) > STALE_AFTER) showStale();
}, 1000);
