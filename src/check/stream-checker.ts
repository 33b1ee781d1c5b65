// Checks one stream of messages without a broker: the same receive buffer, workers and order as a connection
// has, with nobody to deliver to. Never holds more of the stream than its budget.
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

/** One rejected message. Holds nothing of what it says. */
export interface Finding {
  /** Line of the stream in which the message begins, counted from 1. */
  readonly line: number;
  readonly code: WireErrorCode;
  /** Name of the message's type, where it is known. */
  readonly type: string | undefined;
  readonly issues: readonly Issue[];
}

/** What a checker tells. */
export interface CheckListener {
  /** A message was rejected. They come in the order of the stream. */
  onFinding(finding: Finding): void;
  /** A worker failed; its messages are tried again. */
  onWorkerError(error: unknown): void;
}

export interface CheckerOptions {
  /** Worker threads. */
  readonly threads: number;
  /** Batches that one worker may have at a time. */
  readonly concurrentTasksPerWorker: number;
  /** Messages after which a batch is full, roughly. */
  readonly maxBatchMessages: number;
  /** ms that one batch may take; 0: no limit. */
  readonly validationTimeout: number;
  /** What the workers check by, the schema module among it. */
  readonly settings: ParserSettings;
}

/** Bytes that are read and handed to a worker at a time: more is no faster. */
const BLOCK_SIZE = 1024 * 1024;
/** Blocks that may wait beside those that the workers have. */
const BLOCKS_AHEAD = 4;
/** In ms; any will do. */
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
  /** While a worker that has died is being replaced, nothing else keeps the process from ending. */
  #keepAlive: NodeJS.Timeout | undefined;
  #line = 0;
  #wake: (() => void) | undefined;
  #failure: unknown;

  /** @param registry the types that the workers know too: those of the same schema module */
  constructor(options: CheckerOptions, registry: MessageRegistry, listener: CheckListener) {
    const { framing, delimiter, maxMessageSize } = options.settings;
    this.#registry = registry;
    this.#onFinding = (finding) => listener.onFinding(finding);
    this.#delimiter = delimiter;
    this.#budget = (options.threads * options.concurrentTasksPerWorker + BLOCKS_AHEAD) * BLOCK_SIZE;
    this.#accepted = registry.types.map(() => 0);
    this.#dispatcher = new Dispatcher({
      ...options,
      maxBatchBytes: BLOCK_SIZE,
      onVerdict: (verdict) => this.#count(verdict),
      onSettled: () => this.#wakeReader(),
      onWorkerError: (error) => listener.onWorkerError(error),
    });
    this.#lane = new Lane(
      (chunk) => this.#settle(chunk),
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

  /** Bytes taken so far. */
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
   * Waits until the workers answer.
   * @throws SluiceError `WORKERS_FAILED`
   */
  async start(): Promise<void> {
    await this.#dispatcher.start();
    this.#keepAlive = setInterval(() => {}, KEEP_ALIVE_INTERVAL);
  }

  /**
   * Takes bytes that somebody else has read.
   * @throws what the listener threw
   */
  async write(bytes: Uint8Array): Promise<void> {
    this.#buffer.write(bytes);
    await this.#roomToRead();
  }

  /**
   * Has bytes read to where the workers check them.
   * @param read fills the buffer from its start; answers with how many bytes there are, 0 at the end
   * @returns whether there may be more
   * @throws what `read` or the listener threw
   */
  async readWith(read: (into: Buffer) => Promise<number>): Promise<boolean> {
    const length = await read(this.#buffer.writable());
    if (length > 0) this.#buffer.commit(length);
    await this.#roomToRead();
    return length > 0;
  }

  /**
   * The stream has ended: waits until all of it is checked.
   * @throws what the listener threw
   */
  async end(): Promise<void> {
    this.#buffer.end();
    await new Promise<void>((resolve) => this.#lane.after(resolve));
    this.#throwFailure();
  }

  /** Ends the workers; what is not checked by now will not be. */
  close(): Promise<void> {
    clearInterval(this.#keepAlive);
    return this.#dispatcher.close();
  }

  #submit(range: FrameRange): void {
    this.#dispatcher.submit(this.#lane, range, performance.now());
  }

  /** The workers set the pace: what they have not checked stays in memory. */
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

  /** The next chunk of the stream has its verdict. */
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
    });
  }

  /** The one message that no worker survived, with its delimiter if it has one. */
  #settleFailed({ slab, end }: Chunk): void {
    this.#report('VALIDATION_FAILED');
    if (slab.arena.bytes[end - 1] === this.#delimiter) this.#line++;
  }
}
