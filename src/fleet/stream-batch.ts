// Stream batches: consecutive messages of one host's durable log, stored in the engine together. The body is NDJSON, so
// that programs that know nothing of Sluice can read it; what belongs to the messages is in headers.

import * as z from 'zod';
import { formatPosition, type Position, parsePosition } from '../log/position.js';
import { POSITION_PATTERN } from '../messages/messages.js';

/** The sender of messages. */
export interface BatchSender {
  /** Connection ID. */
  readonly id: string;
  readonly crawlerId: string | undefined;
}

/** Consecutive messages of one sender. */
export interface BatchRun {
  readonly sender: BatchSender;
  /** Sequence number of the first message among those of its connection. */
  readonly sequence: number;
  /** Number of messages. */
  readonly count: number;
  /** Their bytes, delimiters included. */
  readonly bytes: number;
}

export interface StreamBatch {
  readonly host: string;
  /** Position of the first message in the log of the host. */
  readonly start: Position;
  /** Number of messages. */
  readonly count: number;
  readonly runs: readonly BatchRun[];
  /** The messages, each with its newline. */
  readonly body: Uint8Array;
}

/** Position after the messages of a batch. */
export function endOf({ start, count }: Pick<StreamBatch, 'start' | 'count'>): Position {
  return { epoch: start.epoch, offset: start.offset + count };
}

export type BatchHeaders = Readonly<Record<string, string>>;

const FORMAT = '1';
export const HEADER = {
  FORMAT: 'Sluice-Format',
  START: 'Sluice-Start',
  COUNT: 'Sluice-Count',
  SENDERS: 'Sluice-Senders',
  RUNS: 'Sluice-Runs',
} as const;

export function encodeHeaders({ start, count, runs }: StreamBatch): BatchHeaders {
  const senders = new Map<BatchSender, number>();
  const numberOf = (sender: BatchSender): number => {
    const known = senders.get(sender) ?? senders.size;
    senders.set(sender, known);
    return known;
  };
  const list = runs.map((run) => [numberOf(run.sender), run.sequence, run.count, run.bytes].join(','));
  return {
    [HEADER.FORMAT]: FORMAT,
    [HEADER.START]: formatPosition(start),
    [HEADER.COUNT]: String(count),
    [HEADER.SENDERS]: JSON.stringify([...senders.keys()].map(({ id, crawlerId = null }) => [id, crawlerId])),
    [HEADER.RUNS]: list.join(';'),
  };
}

const number = z.string().regex(/^\d{1,15}$/);
const headersSchema = z.object({
  [HEADER.FORMAT]: z.literal(FORMAT),
  [HEADER.START]: z.string().regex(POSITION_PATTERN),
  [HEADER.COUNT]: number,
  [HEADER.SENDERS]: z.string(),
  [HEADER.RUNS]: z.string().regex(/^\d{1,15}(?:[,;]\d{1,15})*$/),
});
const sendersSchema = z.array(z.tuple([z.string().max(256), z.string().max(256).nullable()]));

/**
 * @param body the messages, each with its newline
 * @returns `undefined` if it is no batch, or one that contradicts itself
 */
export function decodeBatch(host: string, headers: BatchHeaders, body: Uint8Array): StreamBatch | undefined {
  const parsed = headersSchema.safeParse(headers);
  if (!parsed.success) return undefined;
  const senders = sendersIn(parsed.data[HEADER.SENDERS]);
  if (senders === undefined) return undefined;
  const runs: BatchRun[] = [];
  let [messages, bytes] = [0, 0];
  for (const text of parsed.data[HEADER.RUNS].split(';')) {
    const [at = -1, sequence = 0, count = 0, size = 0, ...more] = text.split(',').map(Number);
    const sender = senders[at];
    if (sender === undefined || count < 1 || more.length > 0) return undefined;
    runs.push({ sender, sequence, count, bytes: size });
    messages += count;
    bytes += size;
  }
  const count = Number(parsed.data[HEADER.COUNT]);
  if (messages !== count || bytes !== body.length) return undefined;
  return { host, start: parsePosition(parsed.data[HEADER.START]), count, runs, body };
}

function sendersIn(text: string): BatchSender[] | undefined {
  try {
    const { success, data } = sendersSchema.safeParse(JSON.parse(text));
    return success ? data.map(([id, crawlerId]) => ({ id, crawlerId: crawlerId ?? undefined })) : undefined;
  } catch {
    return undefined;
  }
}
