// The messages of `sluice bench`: blocks that are generated once, and between them clocks. A clock is a message that
// contains the time of sending, from which the receiving process computes the latency.

import { InvalidArgumentError } from 'commander';
import { Traffic } from '../../traffic/traffic.js';

/** Messages that are generated once and sent repeatedly. */
export interface Block {
  readonly bytes: Buffer;
  /** The end offset of each message, including its newline. */
  readonly ends: readonly number[];
}

/** Approximate bytes of a block: large enough to need few system calls. */
const BLOCK_SIZE = 512 * 1024;
/** The current time, for brokers that reject old messages. */
const TIMESTAMP = new Date().toISOString();

/**
 * Generates the block of one publisher.
 * @param size bytes per message without its newline. If `undefined`, a mix of crawler messages, 394 bytes on average.
 * @throws InvalidArgumentError if no message can be that small
 */
export function makeBlock(publisher: number, size: number | undefined): Block {
  const traffic = new Traffic({ seed: publisher, crawler: `bench-${publisher}` });
  const next =
    size === undefined
      ? () => JSON.stringify({ ...traffic.next(), timestamp: TIMESTAMP })
      : () => padded(publisher, size);
  const lines: string[] = [];
  const ends: number[] = [];
  for (let bytes = 0; bytes < BLOCK_SIZE; ends.push(bytes)) {
    const line = `${next()}\n`;
    bytes += Buffer.byteLength(line);
    lines.push(line);
  }
  return { bytes: Buffer.from(lines.join('')), ends };
}

function padded(publisher: number, size: number): string {
  const message = (text: string): string =>
    JSON.stringify({
      type: 'job_progress',
      timestamp: TIMESTAMP,
      jobId: `bench-${publisher}`,
      data: { stage: 'fetching', entityType: 'issue', processed: 1, total: 2, message: text },
    });
  const padding = size - message('').length;
  if (padding < 0) throw new InvalidArgumentError(`--size: must be at least ${message('').length}`);
  return message('x'.repeat(padding));
}

/** The text before the time in a clock. No message of a block contains it. */
const CLOCK_HEAD = '"systemStatus":"idle","uptime":';
const CLOCK_DIGITS = 15;
const clockMessage = (digits: string): string =>
  `{"type":"heartbeat","timestamp":"${new Date().toISOString()}","data":{"activeJobs":0,"totalProcessed":0,${CLOCK_HEAD}${digits}}}\n`;
export const CLOCK_SIZE = clockMessage('1'.repeat(CLOCK_DIGITS)).length;
/** Added to the time for a fixed number of digits: a JSON number has no leading zeros. */
const CLOCK_BASE = 10 ** (CLOCK_DIGITS - 1);

/** The time in µs, modulo {@link CLOCK_BASE}, from a clock that all processes of the machine share. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint() / 1000n) % CLOCK_BASE;
}

/** A clock with the current time. */
export function makeClock(): Buffer {
  return Buffer.from(clockMessage(String(CLOCK_BASE + sharedNow())), 'latin1');
}

/** Calls `onClock` with the time of each complete clock in these bytes. */
export function findClocks(bytes: Buffer, onClock: (time: number) => void): void {
  let at = bytes.indexOf(CLOCK_HEAD);
  while (at !== -1) {
    const from = at + CLOCK_HEAD.length;
    const digits = bytes.toString('latin1', from, from + CLOCK_DIGITS);
    if (digits.length === CLOCK_DIGITS) onClock(Number(digits) - CLOCK_BASE);
    at = bytes.indexOf(CLOCK_HEAD, from);
  }
}

/** The sequence of one publisher: a clock, a block, a clock, a block, and so on. The last block may be incomplete. */
export interface SendPlan {
  readonly messages: number;
  readonly blocks: number;
  /** Bytes of the last, incomplete block. If `undefined`, there is no such block and no clock before it. */
  readonly rest: number | undefined;
  /** Total bytes, including clocks. */
  readonly bytes: number;
}

/** @param messages number of messages to send, including clocks */
export function planOf({ bytes, ends }: Block, messages: number): SendPlan {
  const perBlock = ends.length + 1;
  const blocks = Math.floor(messages / perBlock);
  const remaining = messages - blocks * perBlock;
  const rest = remaining === 0 ? undefined : (ends[remaining - 2] ?? 0);
  const restBytes = rest === undefined ? 0 : CLOCK_SIZE + rest;
  return { messages, blocks, rest, bytes: blocks * (CLOCK_SIZE + bytes.length) + restBytes };
}

/** Share `index` of these messages, which are divided into `parts` as evenly as possible. */
export function shareOf(messages: number, parts: number, index: number): number {
  return Math.floor(messages / parts) + (index < messages % parts ? 1 : 0);
}
