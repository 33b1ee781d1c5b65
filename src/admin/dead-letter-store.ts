// The dead letters, for operators: which there are, without their content; some are dropped, or sent again. They are read
// from the disk for each request, since `sluice dead` changes them, too.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { describeError, SluiceError } from '../errors.js';
import {
  deadLetterDisk,
  dropDeadLetters,
  NO_CONTENT,
  readDeadLetters,
  type StoredDeadLetter,
} from '../log/dead-letters.js';
import type { AdminSource, MessageSender } from './admin-source.js';
import { requireStarted } from './bearer-token.js';
import { type ListQuery, matchesSearch } from './list-query.js';
import { ReadLimit } from './read-limit.js';
import { RequestError } from './reply.js';
import type { DeadLetterList, DeadLetterRow } from './snapshot.js';

/** A request keeps as many rows as it leaves out and returns. */
export const DEAD_LETTER_LIMITS = { maxOffset: 10_000, maxLimit: 500 } as const;
/** Number of dead letters after which other work of the main thread gets its turn. */
const TURN = 100;

export interface DeadLetterQuery extends ListQuery {
  /** If it is null, those of all groups and of none. */
  readonly group: string | null;
  /** Null: all. */
  readonly reason: string | null;
  /** Whether to return the beginnings of messages. */
  readonly showsSamples: boolean;
}

/** What became of dead letters that were sent again. */
export interface RetryResult {
  /** IDs of those that the broker has accepted, which are no longer listed. */
  readonly sent: number[];
  readonly failed: { readonly id: number; readonly error: string }[];
}

export class DeadLetterStore {
  readonly #source: AdminSource;
  /** Each request reads as much as there is, at most `deadLetterMaxBytes`. */
  readonly #reads = new ReadLimit('dead letters');
  /** The latest change: each one reads and replaces the same file. */
  #changed: Promise<unknown> = Promise.resolve();

  constructor(source: AdminSource) {
    this.#source = source;
  }

  /**
   * The newest first.
   * @throws RequestError
   */
  list(query: DeadLetterQuery): Promise<DeadLetterList> {
    const { offset, limit, showsSamples } = query;
    return this.#read(async (log) => {
      // The newest ones are read last.
      const size = offset + limit;
      const latest: DeadLetterRow[] = [];
      let total = 0;
      for await (const letter of lettersOf(log))
        if (matches(letter, query)) latest[total++ % size] = rowOf(letter, showsSamples);
      const count = Math.max(0, Math.min(limit, total - offset));
      const places = Array.from({ length: count }, (_, index) => (total - 1 - offset - index) % size);
      return { total, rows: places.flatMap((place) => latest[place] ?? []) };
    });
  }

  /**
   * @returns the IDs of those that were there
   * @throws RequestError
   */
  drop(ids: ReadonlySet<number>): Promise<number[]> {
    return this.#change((log) => dropThoseThatExist(log, ids));
  }

  /**
   * Sends those that are there to the broker again, and drops those that it has accepted.
   * @throws RequestError
   */
  retry(ids: ReadonlySet<number>): Promise<RetryResult> {
    return this.#change(async (log) => {
      let sender: MessageSender | undefined;
      let sendsFor: string | undefined;
      const result: RetryResult = { sent: [], failed: [] };
      try {
        for await (const { id, content, crawlerId } of lettersOf(log)) {
          if (!ids.has(id)) continue;
          let error: string | undefined = NO_CONTENT;
          if (content !== undefined) {
            if (sender === undefined || crawlerId !== sendsFor) {
              sender?.close();
              sender = await this.#source.openSender(crawlerId);
              sendsFor = crawlerId;
            }
            error = await sendAgain(sender, content);
          }
          if (error === undefined) result.sent.push(id);
          else result.failed.push({ id, error });
        }
      } finally {
        sender?.close();
        await dropSent(log, result);
      }
      return result;
    });
  }

  /** One change after another. */
  #change<T>(change: (log: string) => Promise<T>): Promise<T> {
    return this.#read((log) => {
      const changed = this.#changed.then(() => change(log));
      this.#changed = changed.catch(() => {});
      return changed;
    });
  }

  async #read<T>(use: (log: string) => Promise<T>): Promise<T> {
    const { log } = this.#source.options;
    if (log === undefined) throw new RequestError(404, 'there are no dead letters: set the option log');
    requireStarted(this.#source);
    return this.#reads.use(() => use(log));
  }
}

/** @param log its folder */
async function* lettersOf(log: string): AsyncGenerator<StoredDeadLetter, void> {
  let count = 0;
  for await (const letter of readDeadLetters(deadLetterDisk(log))) {
    if (++count % TURN === 0) await nextTurn();
    yield letter;
  }
}

/** Drops those that were sent. If that fails, they are reported as failed, since they are still listed. */
async function dropSent(log: string, { sent, failed }: RetryResult): Promise<void> {
  if (sent.length === 0) return;
  try {
    await dropDeadLetters(log, sent);
  } catch (error) {
    const fault = `it was sent, but could not be dropped: ${describeError(error)}`;
    failed.push(...sent.splice(0).map((id) => ({ id, error: fault })));
  }
}

/** @returns why it was not accepted, if it was not */
async function sendAgain(sender: MessageSender, content: string): Promise<string | undefined> {
  try {
    return await sender.send(Buffer.from(content, 'base64'));
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

/** An ID that is not there yet must not be dropped: a later message would get it. */
async function dropThoseThatExist(log: string, ids: ReadonlySet<number>): Promise<number[]> {
  const found: number[] = [];
  for await (const { id } of lettersOf(log)) if (ids.has(id)) found.push(id);
  if (found.length > 0) await dropDeadLetters(log, found);
  return found;
}

function matches(letter: StoredDeadLetter, { search, group, reason }: DeadLetterQuery): boolean {
  const { messageType = null, crawlerId = null, connectionId } = letter;
  if (group !== null && letter.group !== group) return false;
  if (reason !== null && letter.reason !== reason) return false;
  return matchesSearch(search, [letter.reason, messageType, crawlerId, connectionId, letter.group ?? null]);
}

function rowOf(letter: StoredDeadLetter, showsSample: boolean): DeadLetterRow {
  const { id, at, reason, connectionId, bytes, issues = [], sample, content } = letter;
  return {
    id,
    at,
    reason,
    messageType: letter.messageType ?? null,
    crawlerId: letter.crawlerId ?? null,
    connectionId,
    group: letter.group ?? null,
    position: letter.position ?? null,
    bytes,
    isWhole: content !== undefined,
    issues,
    ...(showsSample && sample !== undefined ? { sample } : {}),
  };
}
