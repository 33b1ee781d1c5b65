// Messages that could not be handled: those that failed too often in a work group, and samples of rejected ones. They are in
// a small log of the same format, in a folder of the durable log. The oldest ones are removed.

import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { lockPath } from '../config/unix-socket.js';
import { FRAME } from '../dispatch/verdict.js';
import { SluiceError } from '../errors.js';
import type { LogSender } from './active-segment.js';
import { FolderDisk, type LogDisk, readFile, replaceFile } from './disk.js';
import { createHead, INDEX, RecordKind } from './format.js';
import { isGap, readLog } from './log-reader.js';
import { LogStore } from './log-store.js';
import { formatEpoch } from './position.js';
import { findSegments } from './segments.js';

/** Name of the folder, in that of the durable log. */
const FOLDER = 'dead-letters';
/** Name of the file with the IDs of those that were dropped. */
const DROPPED = 'dropped.json';
const DELIMITER = 0x0a;
const DAY = 24 * 60 * 60 * 1000;
/** How long they are kept, in ms. */
const MAX_AGE = 30 * DAY;
const SECOND = 1000;
/** Rejected messages, and their bytes, that are kept in one second: a faulty peer must not occupy the disk. */
const MAX_REJECTED = 100;
const MAX_REJECTED_BYTES = 1024 * 1024;
/** Bytes that a dead letter may have in addition to its content. */
const MAX_DETAILS = 64 * 1024;
/** Bytes that may wait for the disk. */
const MAX_PENDING = 4 * 1024 * 1024;
/** A log has at least this many segments. */
const MIN_SEGMENTS = 4;

const deadLetterSchema = z.object({
  /** When it was stored, in ms since 1970. */
  at: z.number(),
  /** Code of the error. */
  reason: z.string(),
  /** The work group in which it failed. */
  group: z.string().optional(),
  /** Its position in the durable log. */
  position: z.string().optional(),
  messageType: z.string().optional(),
  /** Its sender. */
  connectionId: z.string(),
  crawlerId: z.string().optional(),
  /** Size of the message. */
  bytes: z.number(),
  issues: z.array(z.object({ path: z.string(), code: z.string() })).optional(),
  /** Its beginning, with anything that looks like a secret masked. */
  sample: z.string().optional(),
  /** The whole message in base64, if it is kept. */
  content: z.string().optional(),
});

/** A message that could not be handled. */
export type DeadLetter = z.infer<typeof deadLetterSchema>;

/** One that is stored. */
export interface StoredDeadLetter extends DeadLetter {
  /** Unique as long as the durable log exists. */
  readonly id: number;
}

export interface DeadLettersOptions {
  readonly maxBytes: number;
  /** Whether rejected messages are kept whole, and not as a sample. */
  readonly keepsContent: boolean;
  /** Called when the disk has failed. Writing is tried again. */
  readonly onError: (error: unknown) => void;
}

/** What was kept since the start. */
export interface DeadLetterStatistics {
  /** Messages that failed too often in a work group. */
  readonly failed: number;
  /** Rejected messages. */
  readonly rejected: number;
  /** Rejected messages that were not kept, since there were too many in one second, or too many wait for the disk. */
  readonly omitted: number;
}

/** Writes dead letters. */
export class DeadLetters {
  readonly #store: LogStore;
  readonly #keepsContent: boolean;
  readonly #now: () => number;
  #second = { startedAt: Number.NEGATIVE_INFINITY, count: 0, bytes: 0 };
  #failed = 0;
  #rejected = 0;
  #omitted = 0;

  private constructor(store: LogStore, keepsContent: boolean, now: () => number) {
    this.#store = store;
    this.#keepsContent = keepsContent;
    this.#now = now;
  }

  /**
   * @param folder of the durable log
   * @param verifyLock throws if another process may write the durable log, which reports that itself
   * @param now monotonic clock in ms. Default: `performance.now`.
   * @throws LogFormatError, or an error of the system
   */
  static async open(
    folder: string,
    { maxBytes, keepsContent, onError }: DeadLettersOptions,
    verifyLock: () => Promise<void>,
    now: () => number = () => performance.now(),
  ): Promise<DeadLetters> {
    const path = join(folder, FOLDER);
    const disk = await FolderDisk.create(path);
    let lockError: unknown;
    const store = await LogStore.open(disk, {
      maxBytes,
      segmentBytes: Math.floor(maxBytes / MIN_SEGMENTS),
      maxAge: MAX_AGE,
      delimiter: DELIMITER,
      types: ['dead_letter'],
      verifyLock: async () => {
        await verifyLock().catch((error: unknown) => {
          lockError = error;
          throw error;
        });
        // Somebody may have removed it to get rid of them.
        await FolderDisk.create(path);
      },
      // Once it is stored here, a message is removed from its work group.
      checksSyncs: true,
      onError: (error) => {
        if (error !== lockError) onError(error);
      },
    });
    return new DeadLetters(store, keepsContent, now);
  }

  get statistics(): DeadLetterStatistics {
    return { failed: this.#failed, rejected: this.#rejected, omitted: this.#omitted };
  }

  /** Whether a rejected message of this size is kept whole: in base64, it has to fit into what is left of this second. */
  keepsContent(bytes: number): boolean {
    const used = this.#now() - this.#second.startedAt >= SECOND ? 0 : this.#second.bytes;
    return this.#keepsContent && Math.ceil((bytes * 4) / 3) + MAX_DETAILS <= MAX_REJECTED_BYTES - used;
  }

  /** Whether too many of them wait for the disk. */
  get isBehind(): boolean {
    return this.#store.pendingBytes > MAX_PENDING;
  }

  /** Whether another rejected message may be kept in this second. */
  get hasRoom(): boolean {
    const { startedAt, count, bytes } = this.#second;
    const isWithin = count < MAX_REJECTED && bytes < MAX_REJECTED_BYTES;
    return !this.isBehind && (isWithin || this.#now() - startedAt >= SECOND);
  }

  /** Keeps a rejected message, unless there are too many: then it is only counted. */
  addRejected(letter: DeadLetter): void {
    if (!this.hasRoom) return this.omit(1);
    const now = this.#now();
    if (now - this.#second.startedAt >= SECOND) this.#second = { startedAt: now, count: 0, bytes: 0 };
    const body = encode(letter);
    if (this.#second.bytes + body.length > MAX_REJECTED_BYTES) return this.omit(1);
    this.#second.count++;
    this.#second.bytes += body.length;
    this.#rejected++;
    this.#append(letter, body);
  }

  /** Counts rejected messages that are not kept. */
  omit(count: number): void {
    this.#omitted += count;
  }

  /** Keeps a message that has failed too often. Resolves when it is durable. */
  add(letter: DeadLetter): Promise<void> {
    this.#failed++;
    this.#append(letter, encode(letter));
    return this.#store.whenDurable();
  }

  removeExpired(): void {
    this.#store.removeExpired();
  }

  /** Checks that the files are still there, and that no other process may write them. */
  check(): void {
    this.#store.check();
  }

  async close(timeout: number): Promise<void> {
    await this.#store.close(timeout);
  }

  #append(letter: DeadLetter, body: Buffer): void {
    const head = createHead(INDEX.FRAMES + FRAME.SIZE, (index) => {
      index.fill(0);
      index[INDEX.FRAMES + FRAME.END] = body.length - 1;
    });
    const fields = { kind: RecordKind.RUN, count: 1, time: letter.at, sequence: 1, decidedBefore: 0 };
    this.#store.append({ head, body, bodyChecksum: undefined, sender: BROKER, fields });
  }
}

function encode(letter: DeadLetter): Buffer {
  return Buffer.from(`${JSON.stringify(letter)}\n`);
}

/** All are written by the broker itself. */
const BROKER: LogSender = { number: 1, id: 'broker', crawlerId: undefined };

/** Why a dead letter without content cannot be sent again. */
export const NO_CONTENT = 'only its beginning was kept: see the option rejectedBytes';
/** Of one that is rejected again without an error reply. */
export const NO_REPLY = 'it was rejected, without an error reply: see the option maxErrorReplies';

/** The folder of the dead letters. @param folder of the durable log */
export function deadLetterDisk(folder: string): LogDisk {
  return new FolderDisk(join(folder, FOLDER));
}

/**
 * The dead letters that were not dropped, the oldest first.
 * @throws LogFormatError, or an error of the system
 */
export async function* readDeadLetters(disk: LogDisk): AsyncGenerator<StoredDeadLetter, void> {
  const dropped = await readDropped(disk);
  for await (const part of readLog(disk)) {
    // Those that are missing were the oldest ones, or the disk has lost them.
    if (isGap(part) || dropped.ids.has(part.header.first)) continue;
    const letter = deadLetterSchema.safeParse(JSON.parse(part.body.toString()));
    if (letter.success) yield { id: part.header.first, ...letter.data };
  }
}

/**
 * Drops dead letters: they are no longer listed. Their bytes are removed with the oldest ones.
 * @param folder of the durable log
 * @throws SluiceError `LOG_UNAVAILABLE` if other processes drop some all the time; LogFormatError, or an error of the system
 */
export async function dropDeadLetters(folder: string, ids: Iterable<number>): Promise<void> {
  const disk = deadLetterDisk(folder);
  // Commands and the broker change the same file.
  const unlock = await lockPath(join(await realpath(folder), FOLDER, DROPPED)).catch((cause) => {
    throw new SluiceError('LOG_UNAVAILABLE', 'other processes are dropping dead letters; try again', {
      cause,
    });
  });
  try {
    const { epoch, first, ids: before } = await readDropped(disk);
    const dropped = [...new Set([...before, ...ids])].filter((id) => id >= first);
    await replaceFile(disk, DROPPED, Buffer.from(JSON.stringify({ epoch, ids: dropped })));
  } finally {
    unlock();
  }
}

const droppedSchema = z.object({ epoch: z.string(), ids: z.array(z.int().nonnegative()) });

/** What was dropped, of the log that is there now. */
async function readDropped(disk: LogDisk) {
  const { segments } = await findSegments(disk);
  const [oldest] = segments;
  const epoch = formatEpoch(oldest?.header.epoch ?? 0n);
  const first = oldest?.header.first ?? 0;
  const isThere = (await disk.list()).includes(DROPPED);
  const dropped = isThere ? parseDropped((await readFile(disk, DROPPED)).toString()) : undefined;
  return { epoch, first, ids: new Set(dropped?.epoch === epoch ? dropped.ids : []) };
}

/** @returns `undefined` if the file is damaged: then all dead letters are listed again */
function parseDropped(text: string): z.infer<typeof droppedSchema> | undefined {
  try {
    return droppedSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
