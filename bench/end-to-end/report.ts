// The results of a run: medians of the rounds, Markdown tables, and the type of the JSON report.

import type { Latency, StartUp, Throughput } from './measure.js';
import type { Forwarding } from './measure-fleet.js';
import type { Confirming, Replaying, Storing } from './measure-stores.js';
import type { StoreName } from './stores.js';
import type { SystemName } from './systems.js';
import type { ValidationCost } from './validation.js';

/** The measurements of each system, in the order of the rounds. */
export interface Result<M, N extends string = SystemName> {
  readonly name: string;
  readonly systems: readonly {
    readonly system: N;
    readonly rounds: readonly M[];
    readonly failed?: string;
  }[];
}

export interface Report {
  readonly node: string;
  readonly cores: number;
  readonly rounds: number;
  /** Factor for the number of messages. */
  readonly scale: number;
  readonly validation: ValidationCost | undefined;
  readonly comparisons: readonly Result<Throughput>[];
  readonly startUp: readonly Result<StartUp>[];
  readonly latency: readonly Result<Latency>[];
  readonly rows: readonly Rows[];
  readonly stores: Stores;
  readonly fleet: FleetResults;
}

/** The scenarios of fleets, as far as they were measured. */
export interface FleetResults {
  forwarding?: Result<Forwarding, StoreName>;
  crossing?: Result<Confirming, StoreName>;
}

/** The durable scenarios, as far as they were measured. */
export interface Stores {
  storing?: Result<Storing, StoreName>;
  confirming?: Result<Confirming, StoreName>;
  disk?: Confirming;
  replaying?: Result<Replaying, StoreName>;
}

/** Scenarios in one table. */
export interface Rows {
  readonly name: string;
  readonly results: readonly Result<Throughput>[];
}

/** The median of each figure separately. */
export function medianOf<M extends object>(rounds: readonly M[]): M {
  const [first] = rounds;
  if (first === undefined) throw new Error('nothing was measured');
  const middle = Math.floor(rounds.length / 2);
  const entries = Object.keys(first).map((key) => {
    const figures = rounds.map((round) => Number(round[key as keyof M])).sort((a, b) => a - b);
    return [key, figures[middle]];
  });
  // Has the same keys as the rounds, each with a value from one of them.
  return Object.fromEntries(entries) as M;
}

/** A Markdown table whose first row is the header, padded so that the source is readable. */
function table(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => [...(row[column] ?? '')].length)));
  const write = (row: readonly string[]) =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  const [first = '', ...others] = rows.map(write);
  return [first, rule, ...others].join('\n');
}

const rounded = (figure: number) => Math.round(figure).toLocaleString('en-US');

/**
 * The results of one scenario: the steady state, and the first million messages after the start (cold). The last column is
 * Sluice's throughput divided by the system's.
 */
export function throughputTable({ systems }: Result<Throughput>): string {
  const sluice = systems.find(({ system }) => system === 'Sluice')?.rounds ?? [];
  const best = sluice.length === 0 ? undefined : medianOf(sluice).messagesPerSecond;
  const hasMainThread = systems.some(({ rounds }) => rounds[0]?.mainThreadPerMillion !== undefined);
  const head = [
    ...['', 'messages/s', 'MB/s', 'CPU-s per million'],
    ...(hasMainThread ? ['main thread'] : []),
    ...['cold: messages/s', 'cold: CPU-s per million', 'peak RSS, MB', 'Sluice ÷ this'],
  ];
  const rows = systems.map(({ system, rounds, failed }) => {
    if (rounds.length === 0) return [system, `failed: ${failed}`, ...head.slice(2).map(() => '')];
    const median = medianOf(rounds);
    return [
      system,
      rounded(median.messagesPerSecond),
      rounded(median.megabytesPerSecond),
      median.cpuPerMillion.toFixed(2),
      ...(hasMainThread ? [(median.mainThreadPerMillion ?? 0).toFixed(2)] : []),
      rounded(median.coldMessagesPerSecond),
      median.coldCpuPerMillion.toFixed(2),
      rounded(median.peakRss),
      best === undefined ? '' : (best / median.messagesPerSecond).toFixed(2),
    ];
  });
  return table([head, ...rows]);
}

/** Ends of the periods in the table of the start, in intervals of 100 ms. */
const PERIODS = [1, 2, 5, 10, 20, 50];

/** Messages per second in the first seconds after the start, by period. */
export function startUpTable({ systems }: Result<StartUp>): string {
  const intervals = Math.max(
    0,
    ...systems.flatMap(({ rounds }) => rounds.map(({ delivered }) => delivered.length)),
  );
  const ends = PERIODS.filter((end) => end <= intervals);
  const periods = ends.map((end, index) => ({ from: ends[index - 1] ?? 0, end }));
  const head = ['messages/s', ...periods.map(({ from, end }) => `${from / 10} to ${end / 10} s`)];
  const rows = systems.map(({ system, rounds, failed }) => {
    if (rounds.length === 0) return [system, `failed: ${failed}`, ...head.slice(2).map(() => '')];
    const rates = rounds.map(({ delivered }) =>
      periods.map(({ from, end }) => {
        const messages = (delivered[end - 1] ?? 0) - (delivered[from - 1] ?? 0);
        return (messages * 10) / (end - from);
      }),
    );
    return [system, ...Object.values(medianOf(rates)).map((rate) => rounded(Number(rate)))];
  });
  return table([head, ...rows]);
}

/** Latency percentiles at one rate. The last column is the system's median divided by that of Redis. */
export function latencyTable({ systems }: Result<Latency>): string {
  const redis = systems.find(({ system }) => system === 'Redis pub/sub')?.rounds ?? [];
  const reference = redis.length === 0 ? undefined : medianOf(redis).p50;
  const head = ['', 'p50, µs', 'p99, µs', 'p99.9, µs', 'p50 ÷ Redis'];
  const rows = systems.map(({ system, rounds, failed }) => {
    if (rounds.length === 0) return [system, `failed: ${failed}`, '', '', ''];
    const { p50, p99, p999 } = medianOf(rounds);
    return [system, rounded(p50), rounded(p99), rounded(p999), reference ? (p50 / reference).toFixed(2) : ''];
  });
  return table([head, ...rows]);
}

/** One row per scenario and system. The last column is the time per message divided by that of the system's first row. */
export function rowsTable(results: readonly Result<Throughput>[]): string {
  const head = [
    ...['', 'messages/s', 'deliveries/s', 'ns per message', 'CPU-s per million'],
    ...['cold: messages/s', 'cold: CPU-s per million', 'peak RSS, MB', 'time ÷ first'],
  ];
  const first = new Map<SystemName, number>();
  const rows = results.flatMap(({ name, systems }) =>
    systems.map(({ system, rounds, failed }) => {
      const title = systems.length === 1 ? name : `${name}, ${system}`;
      if (rounds.length === 0) return [title, `failed: ${failed}`, ...head.slice(2).map(() => '')];
      const median = medianOf(rounds);
      const time = 1e9 / median.messagesPerSecond;
      if (!first.has(system)) first.set(system, time);
      return [
        title,
        rounded(median.messagesPerSecond),
        rounded(median.deliveriesPerSecond),
        rounded(time),
        median.cpuPerMillion.toFixed(2),
        rounded(median.coldMessagesPerSecond),
        median.coldCpuPerMillion.toFixed(2),
        rounded(median.peakRss),
        (time / (first.get(system) ?? time)).toFixed(2),
      ];
    }),
  );
  return table([head, ...rows]);
}

/** How many messages were stored and confirmed. The last column is the rate of the durable Sluice divided by this one. */
export function storingTable({ systems }: Result<Storing, StoreName>): string {
  const ratio = ratioTo(systems, ({ messagesPerSecond }) => messagesPerSecond);
  const head = ['', 'messages/s', 'MB/s', 'CPU-s per million', 'peak RSS, MB', 'Sluice, durable ÷ this'];
  return systemTable(systems, head, (median) => [
    rounded(median.messagesPerSecond),
    rounded(median.megabytesPerSecond),
    median.cpuPerMillion.toFixed(2),
    rounded(median.peakRss),
    ratio(median),
  ]);
}

/** From publishing a message to its confirmation. @param disk the same for the disk alone */
export function confirmingTable({ systems }: Result<Confirming, StoreName>, disk?: Confirming): string {
  const head = ['', 'p50, µs', 'p99, µs'];
  const row = ({ p50, p99 }: Confirming) => [rounded(p50), rounded(p99)];
  const measured = systemTable(systems, head, row);
  return disk === undefined
    ? measured
    : `${measured}\n\nThe disk alone, writing and syncing: p50 ${rounded(disk.p50)} µs, p99 ${rounded(disk.p99)} µs.`;
}

/** How fast one reader gets everything again. */
export function replayingTable({ systems }: Result<Replaying, StoreName>): string {
  const ratio = ratioTo(systems, ({ messagesPerSecond }) => messagesPerSecond);
  const head = ['', 'messages/s', 'MB/s', 'CPU-s per million', 'Sluice, durable ÷ this'];
  return systemTable(systems, head, (median) => [
    rounded(median.messagesPerSecond),
    rounded(median.megabytesPerSecond),
    median.cpuPerMillion.toFixed(2),
    ratio(median),
  ]);
}

/** How fast messages get into the engine. */
export function forwardingTable({ systems }: Result<Forwarding, StoreName>): string {
  const head = ['', 'messages/s', 'MB/s', 'CPU-s per million', 'CPU-s per million, engine'];
  return systemTable(systems, head, (median) => [
    rounded(median.messagesPerSecond),
    rounded(median.megabytesPerSecond),
    median.cpuPerMillion.toFixed(2),
    median.engineCpuPerMillion.toFixed(2),
  ]);
}

type Measured<M> = Result<M, StoreName>['systems'];

/** @returns the figure of the durable Sluice divided by that of a system */
function ratioTo<M extends object>(
  systems: Measured<M>,
  figure: (median: M) => number,
): (median: M) => string {
  const rounds = systems.find(({ system }) => system === 'Sluice, durable')?.rounds ?? [];
  const ours = rounds.length === 0 ? undefined : figure(medianOf(rounds));
  return (median) => (ours === undefined ? '' : (ours / figure(median)).toFixed(2));
}

function systemTable<M extends object>(
  systems: Measured<M>,
  head: readonly string[],
  row: (median: M) => readonly string[],
): string {
  const rows = systems.map(({ system, rounds, failed }) =>
    rounds.length === 0
      ? [system, `failed: ${failed}`, ...head.slice(2).map(() => '')]
      : [system, ...row(medianOf(rounds))],
  );
  return table([head, ...rows]);
}

export function validationTable({ patterns, slowPath, parseAndZod }: ValidationCost): string {
  const row = (name: string, cost: number) => [name, rounded(cost), (cost / patterns).toFixed(1)];
  return table([
    ['one thread, the mix', 'ns per message', '÷ patterns'],
    row('patterns', patterns),
    row('slow path: JSON.parse, compiled zod, rules', slowPath),
    row('JSON.parse and zod', parseAndZod),
  ]);
}

const capitalized = (name: string) => name.charAt(0).toUpperCase() + name.slice(1);

/** The whole report as Markdown. */
export function markdown(report: Report): string {
  const { node, cores, rounds, scale, validation, comparisons, startUp, latency, rows } = report;
  const { storing, confirming, disk, replaying } = report.stores;
  const { forwarding, crossing } = report.fleet;
  const parts = [
    `${cores} cores, Node ${node}, medians of ${rounds} interleaved rounds${scale === 1 ? '' : `, scaled by ${scale}`}.`,
    ...(validation === undefined ? [] : ['### Validation', validationTable(validation)]),
    ...comparisons.flatMap((result) => [`### ${result.name}`, throughputTable(result)]),
    ...startUp.flatMap((result) => [`### ${capitalized(result.name)}`, startUpTable(result)]),
    ...latency.flatMap((result) => [`### Latency at ${result.name}`, latencyTable(result)]),
    ...rows.flatMap(({ name, results }) => [`### ${capitalized(name)}`, rowsTable(results)]),
    ...(storing === undefined ? [] : [`### ${capitalized(storing.name)}`, storingTable(storing)]),
    ...(confirming === undefined
      ? []
      : [`### ${capitalized(confirming.name)}`, confirmingTable(confirming, disk)]),
    ...(replaying === undefined ? [] : [`### ${capitalized(replaying.name)}`, replayingTable(replaying)]),
    ...(forwarding === undefined ? [] : [`### ${capitalized(forwarding.name)}`, forwardingTable(forwarding)]),
    ...(crossing === undefined ? [] : [`### ${capitalized(crossing.name)}`, confirmingTable(crossing)]),
  ];
  return `${parts.join('\n\n')}\n`;
}
