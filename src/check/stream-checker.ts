// Checks one stream of messages without a broker, with the same receive buffer, workers and order as a connection, but
// without delivery. Never holds more of the stream than its budget.
//
//   file ─▶ MessageBuffer ─▶ Dispatcher ═▶ worker
//                                │ verdict, in order
//                 CheckListener ◀┘

import { MessageBuffer } from '../connection/message-buffer.js';
import { Dispatcher } from '../dispatch/dispatcher.js';
import { type Chunk, Lane } from '../dispatch/lane.js';
import { type ParserSettings, type RejectedFrame, RunKind, type Verdict } from '../dispatch/verdict.js';
import type { VerdictReader } from '../dispatch/verdict-reader.js';
import type { WireErrorCode } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { SlabPool } from '../memory/slab-pool.js';
import type { Issue } from '../messages/issues.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { compileModules } from '../worker/create-parser.js';

/** One rejected message. Contains none of its content. */
export interface Finding {
  /** Line of the stream in which the message begins, counted from 1. */
  readonly line: number;
  readonly code: WireErrorCode;
  /** Name of the message's type, if known. */
  readonly type: string | undefined;
  readonly issues: readonly Issue[];
  /** Where the message stops being JSON or UTF-8, in bytes from its start. */
  readonly offset: number | undefined;
}

/** Callbacks of a checker. */
export interface CheckListener {
  /** A message was rejected. Called in the order of the stream. */
  onFinding(finding: Finding): void;
  /** A worker failed; its messages are retried. */
  onWorkerError(error: unknown): void;
  /** A worker validates without patterns. */
  onPatternsUnavailable?(reason: string): void;
}

export interface CheckerOptions {
  /** Worker threads. */
  readonly threads: number;
  /** Batches that one worker may have at a time. */
  readonly concurrentTasksPerWorker: number;
  /** Approximate limit on the messages of a batch. */
  readonly maxBatchMessages: number;
  /** ms that one message may take; 0 disables the limit. */
  readonly validationTimeout: number;
  /** Settings for parsing and validation, including the schema module. */
  readonly settings: ParserSettings;
}

/** Bytes that are read and sent to a worker at a time. Larger blocks are not faster. */
const BLOCK_SIZE = 1024 * 1024;
/** Blocks that may wait in addition to those that the workers have. */
const BLOCKS_AHEAD = 4;
/** In ms; any value will do. */
const KEEP_ALIVE_INTERVAL = 60_000;

export class StreamChecker {
  readonly #registry: MessageRegistry;
  readonly #onFinding: (finding: Finding) => void;
  readonly #slabs = new SlabPool(BLOCK_SIZE);
  readonly #dispatcher: Dispatcher;
  readonly #lane: Lane;
  readonly #buffer: MessageBuffer;
  readonly #delimiter: number;
  readonly #budget: number;
  readonly #accepted: number[];
  /** Keeps the process alive while a failed worker is being replaced. */
  #keepAlive: NodeJS.Timeout | undefined;
  #line = 0;
  #wake: (() => void) | undefined;
  #failure: unknown;

  /** @param registry the types of the same schema module that the workers load */
  constructor(options: CheckerOptions, registry: MessageRegistry, listener: CheckListener) {
    const { framing, delimiter, maxMessageSize } = options.settings;
    this.#registry = registry;
    this.#onFinding = (finding) => listener.onFinding(finding);
    this.#delimiter = delimiter;
    this.#budget = (options.threads * options.concurrentTasksPerWorker + BLOCKS_AHEAD) * BLOCK_SIZE;
    this.#accepted = registry.types.map(() => 0);
    this.#dispatcher = new Dispatcher({
      ...options,
      settings: { ...options.settings, fingerprint: registry.fingerprint },
      modules: compileModules(registry, options.settings),
      maxBatchBytes: BLOCK_SIZE,
      onVerdict: (verdict) => this.#count(verdict),
      onSettled: () => this.#wakeReader(),
      onWorkerError: (error) => listener.onWorkerError(error),
      onPatternsUnavailable: (reason) => listener.onPatternsUnavailable?.(reason),
    });
    this.#lane = new Lane(
      (chunk) => {
        this.#settle(chunk);
        return true;
      },
      (error) => {
        this.#failure ??= error;
      },
    );
    this.#buffer = new MessageBuffer(
      this.#slabs,
      { framing, delimiter, maxMessageSize },
      {
        onFrames: (range) => this.#submit(range),
        onOversize: () => this.#lane.after(() => this.#report('MESSAGE_TOO_LARGE')),
      },
    );
  }

  /** Bytes received so far. */
  get bytes(): number {
    return this.#buffer.statistics.bytes;
  }

  /** Accepted messages so far, by type. */
  get accepted(): Record<string, number> {
    const counts: Record<string, number> = {};
    this.#registry.types.forEach(({ name, index }) => {
      const count = this.#accepted[index] ?? 0;
      if (count > 0) counts[name] = count;
    });
    return counts;
  }

  /**
   * Waits until the workers are ready.
   * @throws SluiceError `WORKERS_FAILED`, `NOT_INSTALLED`
   */
  async start(): Promise<void> {
    await this.#dispatcher.start();
    this.#keepAlive = setInterval(() => {}, KEEP_ALIVE_INTERVAL);
  }

  /**
   * Adds bytes to the stream. Waits while too many are unchecked.
   * @throws what the listener threw
   */
  async write(bytes: Uint8Array): Promise<void> {
    this.#buffer.write(bytes);
    await this.#roomToRead();
  }

  /**
   * Reads bytes directly into the memory that the workers check.
   * @param read fills the buffer from its start, and resolves with the number of bytes, or 0 at the end of the stream
   * @returns false at the end of the stream
   * @throws what `read` or the listener threw
   */
  async readWith(read: (into: Buffer) => Promise<number>): Promise<boolean> {
    const length = await read(this.#buffer.writable());
    if (length > 0) this.#buffer.commit(length);
    await this.#roomToRead();
    return length > 0;
  }

  /**
   * Ends the stream, and waits until all of it is checked.
   * @throws what the listener threw
   */
  async end(): Promise<void> {
    this.#buffer.end();
    await new Promise<void>((resolve) => this.#lane.after(resolve));
    this.#throwFailure();
  }

  /** Terminates the workers. Unchecked messages are discarded. */
  close(): Promise<void> {
    clearInterval(this.#keepAlive);
    return this.#dispatcher.close();
  }

  #submit(range: FrameRange): void {
    this.#dispatcher.submit(this.#lane, range, performance.now());
  }

  /** Limits unchecked bytes in memory to the budget: waits until the workers have caught up. */
  async #roomToRead(): Promise<void> {
    while (this.#lane.pendingBytes > this.#budget && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#throwFailure();
  }

  #wakeReader(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #count({ accepted }: Verdict): void {
    for (let index = 0; index < accepted.length; index++) {
      this.#accepted[index] = (this.#accepted[index] ?? 0) + (accepted[index] ?? 0);
    }
  }

  /** Called with each chunk in order, once it has a verdict or has failed. */
  #settle(chunk: Chunk): void {
    const { verdict } = chunk;
    if (verdict === undefined) return this.#settleFailed(chunk);
    const { index } = chunk;
    if (verdict.hasRejections) {
      for (let run = verdict.firstRun(index); run < verdict.runsEnd(index); run++)
        this.#reportRun(verdict, run);
    }
    this.#line += verdict.lines(index);
  }

  #reportRun(verdict: VerdictReader, run: number): void {
    if (verdict.runKind(run) !== RunKind.REJECTED) return;
    const first = verdict.firstFrame(run);
    const end = first + verdict.frameCount(run);
    for (let frame = first; frame < end; frame++) {
      const rejection = verdict.rejectedFrame(frame);
      if (rejection !== undefined) this.#report(rejection.code, rejection);
    }
  }

  #report(code: WireErrorCode, rejection?: RejectedFrame): void {
    this.#onFinding({
      line: this.#line + (rejection?.line ?? 0) + 1,
      code,
      type: rejection?.type,
      issues: rejection?.issues ?? [],
      offset: rejection?.offset,
    });
  }

  /** Reports a poison message: the chunk is a single message, with its delimiter if it has one. */
  #settleFailed({ slab, end }: Chunk): void {
    this.#report('VALIDATION_FAILED');
    if (slab.arena.bytes[end - 1] === this.#delimiter) this.#line++;
  }
}
