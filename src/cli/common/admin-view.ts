// Broker statistics as lines of text, for `sluice top` and `sluice status`.

import type { Readiness } from '../../admin/readiness.js';
import type { BrokerStats } from '../../admin/snapshot.js';
import type { FleetHost } from '../../fleet/host-table.js';
import { formatBytes, formatClock, formatCount, formatLatency } from '../../formats.js';
import { printable } from '../../printable.js';
import { counted } from './terminal.js';

/** The only line for a broker that has no statistics yet. */
export function readinessLine({ reason }: Readiness): string {
  return row('broker', reason);
}

/**
 * The first line while the broker does not answer: since when the others have not changed.
 * @param since ms since 1970
 */
export function noAnswerLine(since: number, error: string): string {
  return row('broker', `no answer since ${formatClock(since)}: ${error}`);
}

/** Application messages per second, all bytes, and control messages, if any. */
function traffic(messages: number, bytes: number, control: number): string {
  const controlText = control > 0 ? `, ${formatRate(control)} control messages/s` : '';
  return `${formatRate(messages)} messages/s, ${formatBytes(bytes)}/s${controlText}`;
}

/** One per second or less is not rounded to 0. */
function formatRate(rate: number): string {
  return rate > 0 && rate < 10 ? rate.toFixed(1) : formatCount(rate);
}

function slowPeers({ slow, dropping }: BrokerStats['connections']): string {
  return dropping === 0 ? `${slow} slow` : `${slow} slow, ${dropping} of them dropping messages`;
}

/** A summary of the broker in a few lines, of which the first ones are the most important. */
export function summaryLines(stats: BrokerStats): string[] {
  const { rates, totals, connections, workers, latency, flow, memory, readiness, durableLog, fleet } = stats;
  const roles = Object.entries(connections.byRole).map(([role, count]) => `${count} ${role}`);
  return [
    row('broker', `${readiness.reason}, ${stats.version}, ${stats.address ?? ''}`),
    row('in', traffic(rates.messagesReceived, rates.bytesReceived, rates.controlReceived)),
    row('out', traffic(rates.messagesSent, rates.bytesSent, rates.controlSent)),
    row('rejected', `${formatCount(totals.messagesRejected)}${namesOf(stats.rejected)}`),
    row('dropped', formatCount(totals.messagesDropped)),
    row('latency', `p50 ${formatLatency(latency.p50)}, p99 ${formatLatency(latency.p99)}`),
    row('workers', `${workers.threads}, ${Math.round(workers.utilization * 100)} % busy`),
    row('peers', [formatCount(connections.open), ...roles, slowPeers(connections)].join(', ')),
    row(
      'memory',
      `${formatBytes(memory.rss)}, ${formatBytes(memory.heldBytes)} not delivered yet${flow.isPaused ? ', reading paused' : ''}`,
    ),
    row('up', `${(stats.uptime / 1000).toFixed(0)} s`),
    ...(durableLog === undefined ? [] : durableLogLines(durableLog)),
    ...(fleet === undefined ? [] : fleetLines(fleet)),
  ];
}

/** Maximum number of hosts that are shown. */
const MAX_HOSTS = 20;

/** The engine, then a line for each host. Those that are furthest behind come first if there are many. */
export function fleetLines({
  isConnected,
  hosts,
  invalidBatches,
  rejected,
}: NonNullable<BrokerStats['fleet']>): string[] {
  const faults = [
    invalidBatches === 0 ? '' : `, ${formatCount(invalidBatches)} invalid batches`,
    rejected === 0 ? '' : `, ${formatCount(rejected)} messages rejected`,
  ];
  const engine = isConnected ? 'engine connected' : 'engine not connected';
  const count = hosts.length === 1 ? '1 host' : `${formatCount(hosts.length)} hosts`;
  const isPartial = hosts.length > MAX_HOSTS;
  const shown = isPartial
    ? [...hosts].sort((a, b) => (b.lag ?? 0) - (a.lag ?? 0)).slice(0, MAX_HOSTS)
    : hosts;
  return [
    row(
      'fleet',
      `${engine}, ${count}${isPartial ? `, ${MAX_HOSTS} shown: the furthest behind` : ''}${faults.join('')}`,
    ),
    ...shown.map((host) => row('', hostText(host))),
  ];
}

/** Reports come every 2 s. */
const SILENT = 10_000;

/** `host-1: 1,234 messages/s, 12 connections, 0 behind`. */
function hostText({ host, rate, connections, lag, silentFor }: FleetHost): string {
  const silent = silentFor < SILENT ? '' : `, silent for ${(silentFor / 1000).toFixed(0)} s`;
  const behind = lag === null ? 'not forwarding' : `${formatCount(lag)} behind`;
  return `${host}: ${formatCount(rate)} messages/s, ${formatCount(connections)} connections, ${behind}${silent}`;
}

function durableLogLines(log: NonNullable<BrokerStats['durableLog']>): string[] {
  const groups = workGroupsText(log);
  return [row('log', durableLogText(log)), ...(groups === undefined ? [] : [row('groups', groups)])];
}

/** `1,234,567 messages, 1.2 GB, disk works; 2 cursors, furthest 12 behind: reports`. */
export function durableLogText(log: NonNullable<BrokerStats['durableLog']>): string {
  const waiting = `${formatBytes(log.pendingBytes)} waiting`;
  const disk = log.isAvailable ? 'disk works' : `disk does not work, ${waiting}`;
  return `${formatCount(log.messages)} messages, ${formatBytes(log.bytes)}, ${disk}; ${cursorsText(log)}`;
}

function cursorsText({ cursorsTotal, cursors: [furthest] }: NonNullable<BrokerStats['durableLog']>): string {
  if (furthest === undefined) return 'no cursors';
  const behind = `${formatCount(furthest.behind)} behind: ${furthest.name}`;
  return cursorsTotal === 1
    ? `1 cursor, ${behind}`
    : `${formatCount(cursorsTotal)} cursors, furthest ${behind}`;
}

/** `2 groups, busiest 12 held, 4 waiting; no dead letters`. `undefined` if there are neither. */
export function workGroupsText(log: NonNullable<BrokerStats['durableLog']>): string | undefined {
  const { failed, rejected } = log.deadLetters;
  const hasNoLetters = failed + rejected === 0;
  if (log.workGroupsTotal === 0 && hasNoLetters) return undefined;
  const letters = hasNoLetters
    ? 'no dead letters'
    : `dead letters since the start: ${formatCount(failed)} failed, ${formatCount(rejected)} rejected`;
  return `${groupsText(log)}; ${letters}`;
}

/** The busiest group comes first. */
function groupsText({
  workGroupsTotal,
  workGroups: [busiest],
}: NonNullable<BrokerStats['durableLog']>): string {
  if (busiest === undefined) return 'no groups';
  const { members, held, waiting } = busiest;
  const messages = `${formatCount(held)} held, ${formatCount(waiting)} waiting`;
  return workGroupsTotal === 1
    ? `1 group, ${counted(members, 'member')}, ${messages}`
    : `${counted(workGroupsTotal, 'group')}, busiest ${messages}`;
}

function namesOf(counts: Readonly<Record<string, number>>): string {
  const names = Object.entries(counts).map(([name, count]) => `${name} ${formatCount(count)}`);
  return names.length === 0 ? '' : ` (${names.join(', ')})`;
}

function row(name: string, value: string): string {
  return `${name.padEnd(10)}${printable(value)}`;
}
