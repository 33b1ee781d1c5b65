// What `sluice bench` sends: blocks of messages that are made once, and clocks between them, by which the receiving
// process knows how long the way took.

import { SluiceError } from '../../errors.js';
import { Traffic } from '../../traffic/traffic.js';

/** Messages, made once and sent again and again. */
export interface Block {
  readonly bytes: Buffer;
  /** Where each message ends, its newline included. */
  readonly ends: readonly number[];
}

/** Bytes of a block, roughly: enough to write with few system calls. */
const BLOCK_SIZE = 512 * 1024;
/** Of now, for brokers that reject old messages. */
const TIMESTAMP = new Date().toISOString();

/**
 * A block of one publisher.
 * @param size bytes of each message without its newline; none: the messages of a crawler, 394 bytes on average
 * @throws SluiceError `INVALID_OPTION` when no message is so small
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
  const room = size - message('').length;
  if (room < 0) throw new SluiceError('INVALID_OPTION', `--size: must be at least ${message('').length}`);
  return message('x'.repeat(room));
}

/** The parts of a message before and after the time; no other message of a block has the first. */
const CLOCK_HEAD = '"systemStatus":"idle","uptime":';
const CLOCK_DIGITS = 15;
const clockMessage = (digits: string): string =>
  `{"type":"heartbeat","timestamp":"${new Date().toISOString()}","data":{"activeJobs":0,"totalProcessed":0,${CLOCK_HEAD}${digits}}}\n`;
export const CLOCK_SIZE = clockMessage('1'.repeat(CLOCK_DIGITS)).length;
/** A JSON number has no zeros in front. */
const CLOCK_BASE = 10 ** (CLOCK_DIGITS - 1);

/** The time in µs: of a clock that all processes of the machine share. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint() / 1000n) % CLOCK_BASE;
}

/** A message that tells when it was made. */
export function makeClock(): Buffer {
  return Buffer.from(clockMessage(String(CLOCK_BASE + sharedNow())), 'latin1');
}

/** Calls `onClock` with the time of each clock that is whole in these bytes. */
export function findClocks(bytes: Buffer, onClock: (time: number) => void): void {
  let at = bytes.indexOf(CLOCK_HEAD);
  while (at !== -1) {
    const from = at + CLOCK_HEAD.length;
    const digits = bytes.toString('latin1', from, from + CLOCK_DIGITS);
    if (digits.length === CLOCK_DIGITS) onClock(Number(digits) - CLOCK_BASE);
    at = bytes.indexOf(CLOCK_HEAD, from);
  }
}

/** How one publisher sends its messages: a clock, a block, and so on; the last block may be cut short. */
export interface SendPlan {
  readonly messages: number;
  readonly blocks: number;
  /** Bytes of the last, incomplete block; none: there is no such block, nor its clock. */
  readonly rest: number | undefined;
  /** All bytes, those of the clocks too. */
  readonly bytes: number;
}

/** @param messages how many to send; clocks are counted among them */
export function planOf({ bytes, ends }: Block, messages: number): SendPlan {
  const perBlock = ends.length + 1;
  const blocks = Math.floor(messages / perBlock);
  const left = messages - blocks * perBlock;
  const rest = left === 0 ? undefined : (ends[left - 2] ?? 0);
  const restBytes = rest === undefined ? 0 : CLOCK_SIZE + rest;
  return { messages, blocks, rest, bytes: blocks * (CLOCK_SIZE + bytes.length) + restBytes };
}

/** Share number `index` of so many messages, as even as it can be. */
export function shareOf(messages: number, parts: number, index: number): number {
  return Math.floor(messages / parts) + (index < messages % parts ? 1 : 0);
}
