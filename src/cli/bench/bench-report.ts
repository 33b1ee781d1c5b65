// The result of `sluice bench`, as data and as a table.

import { formatBytes, formatCount } from '../../formats.js';
import { counted, isMeasurable } from '../common/terminal.js';

/** The raw measurements. Times are in ms. */
export interface BenchMeasurement {
  readonly messages: number;
  /** Total bytes of all publishers. */
  readonly bytes: number;
  /** Number of messages of each publisher, and when the broker had read and validated all of them. */
  readonly publishers: readonly { readonly messages: number; readonly time: number }[];
  /** When each subscriber had received all messages. */
  readonly subscriberTimes: readonly number[];
  /** In µs. */
  readonly latencies: readonly number[];
}

/** Per second. */
export interface BenchRate {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

export interface BenchResult {
  readonly messages: number;
  readonly bytes: number;
  readonly published: BenchRate;
  /** Messages per second of the slowest, the average and the fastest publisher. */
  readonly publisher: { readonly min: number; readonly avg: number; readonly max: number };
  /** Total rate of all subscribers; `undefined` without subscribers. */
  readonly delivered: BenchRate | undefined;
  /** In µs; `undefined` without samples. */
  readonly latency:
    | { readonly p50: number; readonly p99: number; readonly p999: number; readonly samples: number }
    | undefined;
}

export function resultOf({
  messages,
  bytes,
  publishers,
  subscriberTimes,
  latencies,
}: BenchMeasurement): BenchResult {
  const rates = publishers.map((publisher) => perSecond(publisher.messages, publisher.time));
  const published = Math.max(...publishers.map(({ time }) => time));
  const delivered = Math.max(...subscriberTimes);
  const subscribers = subscriberTimes.length;
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
  return {
    messages,
    bytes,
    published: rateOf(messages, bytes, published),
    publisher: {
      min: Math.min(...rates),
      avg: rates.reduce((sum, rate) => sum + rate, 0) / rates.length,
      max: Math.max(...rates),
    },
    delivered: subscribers === 0 ? undefined : rateOf(messages * subscribers, bytes * subscribers, delivered),
    latency:
      sorted.length === 0
        ? undefined
        : { p50: at(0.5), p99: at(0.99), p999: at(0.999), samples: sorted.length },
  };
}

/** What was measured, as far as the names of the results depend on it. */
export interface BenchKind {
  /** Number of publishers. */
  readonly pub: number;
  /** Number of subscribers. */
  readonly sub: number;
  readonly confirm?: boolean;
  readonly replay?: boolean;
}

/** The result as lines of text. */
export function tableOf(result: BenchResult, kind: BenchKind): string[] {
  const { published, publisher, delivered, latency } = result;
  const { pub: publishers, sub: subscribers } = kind;
  const average = formatBytes(result.bytes / result.messages);
  const lines = [
    `${counted(result.messages, 'message')} of ${average}, ${publishers} → ${subscribers}`,
    '',
    row('published', published, result.messages),
  ];
  if (publishers > 1 && isRate(published, result.messages)) {
    const { min, avg, max } = publisher;
    lines.push(
      `  each           min ${formatCount(min)}, avg ${formatCount(avg)}, max ${formatCount(max)} messages/s`,
    );
  }
  if (delivered !== undefined)
    lines.push(
      row(kind.replay === true ? 'replayed' : 'delivered', delivered, result.messages * subscribers),
    );
  if (latency !== undefined) {
    const { p50, p99, p999, samples } = latency;
    const times = `p50 ${formatTime(p50)}, p99 ${formatTime(p99)}, p99.9 ${formatTime(p999)}`;
    const timed = kind.confirm === true ? 'confirmation' : 'latency';
    lines.push(`  ${timed.padEnd(14)} ${times} (${formatCount(samples)} samples)`);
  }
  return lines;
}

/** @param messages from which the rate was computed */
function row(name: string, rate: BenchRate, messages: number): string {
  const { messagesPerSecond, bytesPerSecond } = rate;
  const text = isRate(rate, messages)
    ? `${formatCount(messagesPerSecond)} messages/s, ${formatBytes(bytesPerSecond)}/s`
    : `${counted(messages, 'message')} in ${formatTime((messages / messagesPerSecond) * 1e6)}: too few for a rate`;
  return `  ${name.padEnd(14)} ${text}`;
}

function isRate({ messagesPerSecond }: BenchRate, messages: number): boolean {
  return isMeasurable(messages, messages / messagesPerSecond);
}

function formatTime(microseconds: number): string {
  return microseconds < 1000 ? `${microseconds.toFixed(0)} µs` : `${(microseconds / 1000).toFixed(1)} ms`;
}

function rateOf(messages: number, bytes: number, time: number): BenchRate {
  return { messagesPerSecond: perSecond(messages, time), bytesPerSecond: perSecond(bytes, time) };
}

function perSecond(value: number, milliseconds: number): number {
  return (value * 1000) / Math.max(milliseconds, 0.001);
}
