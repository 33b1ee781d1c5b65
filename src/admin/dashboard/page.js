// The page: receives one snapshot per second from /events and shows it.

import { renderBars } from './bars.js';
import { createChart } from './charts.js';
import { createTable } from './connection-table.js';
import {
  element,
  formatAge,
  formatLatency,
  formatNumber,
  formatShare,
  formatSize,
  UNKNOWN,
} from './formats.js';
import { renderRejections } from './rejections.js';

/** Types of messages between a peer and the broker itself. */
const CONTROL = new Set(['hello', 'subscribe', 'unsubscribe', 'ping', 'pong']);

/** Delay before the page reconnects if the browser does not, in ms. */
const RETRY_DELAY = 2000;

const byId = (id) => document.getElementById(id);
const setText = (id, text) => {
  // Updates only changed text: a screen reader would announce the rest again.
  if (byId(id).textContent !== text) byId(id).textContent = text;
};

const addRates = createChart(
  byId('chart-rates'),
  [
    { name: 'received', color: '--blue' },
    { name: 'delivered', color: '--green', isDashed: true },
  ],
  formatNumber,
);
const addLatency = createChart(
  byId('chart-latency'),
  [
    { name: 'p50', color: '--blue' },
    { name: 'p90', color: '--amber' },
    { name: 'p99', color: '--red' },
  ],
  formatLatency,
);
const showRows = createTable(byId('columns'), byId('rows'));

function showState(text, tone) {
  setText('state', text);
  byId('state').dataset.tone = tone;
}

function showHeader({ readiness, version, address, uptime }) {
  showState(readiness.reason, readiness.ready ? 'good' : 'warn');
  setText('about', [address, `up ${formatAge(uptime)}`, `version ${version}`].filter(Boolean).join('  ·  '));
}

function showTiles({ rates, totals, latency, workers, connections }) {
  setText('tile-in', formatNumber(rates.messagesReceived));
  setText('tile-in-note', `${formatSize(rates.bytesReceived)}/s`);
  setText('tile-out', formatNumber(rates.messagesSent));
  setText('tile-out-note', `${formatSize(rates.bytesSent)}/s`);
  setText('tile-rejected', formatNumber(rates.messagesRejected));
  setText('tile-rejected-note', `${formatNumber(totals.messagesRejected)} total`);
  setText('tile-latency', formatLatency(latency.p99));
  setText('tile-latency-note', `p50 ${formatLatency(latency.p50)}`);
  setText('tile-workers', formatShare(workers.utilization));
  setText('tile-workers-note', `${workers.threads} ${workers.threads === 1 ? 'thread' : 'threads'}`);
  byId('meter-workers').style.width = `${workers.utilization * 100}%`;
  setText('tile-connections', formatNumber(connections.open));
  const roles = Object.entries(connections.byRole).map(([role, count]) => `${count} ${role}`);
  setText('tile-connections-note', roles.join(', ') || `limit ${formatNumber(connections.capacity)}`);
}

function showInternals({ patterns, memory, flow, eventLoopDelay, workers, totals, connections }) {
  const { hits, misses } = patterns;
  const rows = [
    ['Matched by patterns', hits + misses === 0 ? UNKNOWN : formatShare(hits / (hits + misses))],
    ['Layouts learned', formatNumber(patterns.learned)],
    ['Event-loop delay, p99', formatLatency(eventLoopDelay)],
    ['Queued for workers', formatSize(workers.queuedBytes)],
    ['Undelivered', formatSize(memory.heldBytes)],
    ['Queued for peers', formatSize(connections.pendingBytes)],
    ['Messages dropped', formatNumber(totals.messagesDropped)],
    ['Reading', flow.isPaused ? `paused for ${formatLatency(flow.pausedFor)}` : 'active'],
    ['Memory', formatSize(memory.rss)],
  ];
  byId('internals').replaceChildren(
    ...rows.flatMap(([name, value]) => [element('dt', name), element('dd', value)]),
  );
}

function showBars({ accepted, rates, rejected }, rows) {
  const types = Object.entries(accepted).filter(([type]) => !CONTROL.has(type));
  const rateOf = (type) => rates.byType[type] ?? 0;
  renderBars(
    byId('types'),
    types.map(([name]) => ({ name, value: rateOf(name), text: `${formatNumber(rateOf(name))}/s` })),
    'No messages yet',
  );
  const codes = Object.entries(rejected).map(([name, value]) => ({ name, value, text: formatNumber(value) }));
  renderBars(byId('codes'), codes, 'No rejected messages');
  const slow = rows
    .filter(({ isSlow }) => isSlow)
    .map((row) => ({
      key: row.id,
      name: row.crawlerId ?? `${row.role} ${row.id}`,
      value: row.pendingBytes,
      text: `${formatSize(row.pendingBytes)} behind`,
    }));
  renderBars(byId('slow'), slow, 'No slow consumers');
}

function show({ stats, connections, rejections }) {
  const time = stats.at / 1000;
  addRates(time, [stats.rates.messagesReceived, stats.rates.messagesSent]);
  addLatency(time, [stats.latency.p50, stats.latency.p90, stats.latency.p99]);
  showHeader(stats);
  showTiles(stats);
  showInternals(stats);
  showBars(stats, connections.rows);
  showRows(connections.rows);
  const { total, rows } = connections;
  setText('connections-note', total > rows.length ? `busiest ${rows.length} of ${formatNumber(total)}` : '');
  renderRejections(byId('rejections'), rejections);
}

function listen() {
  const events = new EventSource('events');
  events.addEventListener('message', ({ data }) => show(JSON.parse(data)));
  events.addEventListener('error', () => {
    showState('no answer from the broker', 'bad');
    // The browser restores a lost connection by itself, but gives up after an error response.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_DELAY);
  });
}

listen();
