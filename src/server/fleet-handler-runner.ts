// Calls a durable handler with the messages of all hosts, and moves its cursor. Holds at most one batch of a host in
// memory: the next one is read when it has been handled.

import type { FrameRun } from '../delivery/frame-run.js';
import type { Fleet } from '../fleet/fleet.js';
import { type FleetPosition, formatFleetPosition } from '../fleet/fleet-position.js';
import type { BatchOrigin, FleetGap, StreamReader, StreamTarget } from '../fleet/stream-reader.js';
import { formatPosition } from '../log/position.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { type Filter, matchesMessage, type SubscribeData } from '../routing/filter.js';
import { DurableCalls, type DurableCallsListener } from './durable-calls.js';
import type { DurableHandler } from './durable-handler.js';
import { DurableMessage, type DurableOrigin } from './durable-message.js';

/** A batch that is not handled yet, or in part. */
interface CurrentBatch {
  /** `undefined` if it is the first one, wherever that is. */
  readonly before: FleetPosition | undefined;
  gap: FleetGap | undefined;
  readonly messages: DurableMessage[];
  /** The latest message that was handled. */
  last: DurableMessage | undefined;
}

/** Minimum time between two changes of the cursor, in ms: its position names all hosts. */
const CURSOR_INTERVAL = 100;

export class FleetHandlerRunner implements StreamTarget {
  readonly #calls: DurableCalls;
  readonly #data: SubscribeData;
  readonly #filter: Filter;
  readonly #fleet: Fleet;
  readonly #registry: MessageRegistry;
  readonly #stopping = new AbortController();
  #reader: StreamReader | undefined;
  #batch: CurrentBatch | undefined;
  #handling: Promise<void> | undefined;
  /** Where the reader was when this was stopped: it may go on meanwhile. */
  #stoppedAt: FleetPosition | undefined;
  /** Lets the reader go on, or stop. */
  #resume: () => void = () => {};
  #cursorTimer: NodeJS.Timeout | undefined;

  constructor(
    handler: DurableHandler,
    data: SubscribeData,
    filter: Filter,
    fleet: Fleet,
    registry: MessageRegistry,
    listener: DurableCallsListener,
  ) {
    this.#calls = new DurableCalls(handler, listener, this.#stopping.signal);
    this.#data = data;
    this.#filter = filter;
    this.#fleet = fleet;
    this.#registry = registry;
    if (data.cursor !== undefined) fleet.handlerCursors.add(data.cursor);
  }

  /** Handles messages until it is stopped. */
  run(): void {
    this.#reader = this.#fleet.openReader(this.#fleet.startOf(this.#data));
    this.#reader.targets.add(this);
    // So that it begins there again, even if there is no message before the process ends.
    void this.#reader.ready.then(() => this.#moveCursorSoon());
  }

  /** Stops after the current call. @returns resolves when that has returned, and its cursor has moved */
  async stop(): Promise<void> {
    this.#stoppedAt = this.#reader?.position;
    this.#stopping.abort();
    this.#resume();
    await this.#handling;
    this.#moveCursor();
  }

  /** Gives up waiting for the current call. Its cursor still moves while the log is open. */
  detach(): void {
    clearTimeout(this.#cursorTimer);
    const { cursor } = this.#data;
    if (cursor !== undefined) this.#fleet.handlerCursors.delete(cursor);
    if (this.#reader !== undefined) void this.#fleet.closeReader(this.#reader);
    this.#reader = undefined;
  }

  deliver(run: FrameRun, origin: BatchOrigin): void {
    let copied: { readonly bytes: Buffer; readonly origin: DurableOrigin } | undefined;
    const base = run.start(0);
    for (let at = 0; at < run.count && !this.#isStopped; at++) {
      if (!matchesMessage(this.#filter, run, at)) continue;
      this.#batch ??= this.#newBatch();
      // Handlers may keep messages.
      copied ??= { bytes: cloneBytes(run.bytes), origin: this.#originOf(run, origin, this.#batch) };
      const raw = copied.bytes.subarray(run.start(at) - base, run.end(at) - base);
      const type = run.unknownType ?? this.#registry.types[run.typeIndex(at)]?.name ?? '';
      const [offset, sequence] = [(run.firstOffset ?? 0) + at, run.firstSequence + at];
      this.#batch.messages.push(new DurableMessage(copied.origin, offset, sequence, raw, type));
    }
  }

  onGap(gap: FleetGap): void {
    if (this.#isStopped) return;
    this.#batch = this.#newBatch();
    this.#batch.gap = gap;
  }

  afterBatch(): Promise<void> | undefined {
    if (this.#isStopped) return undefined;
    this.#moveCursorSoon();
    const batch = this.#batch;
    if (batch === undefined) return undefined;
    return new Promise((resolve) => {
      this.#resume = resolve;
      this.#handling = this.#handle(batch).finally(resolve);
    });
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  #newBatch(): CurrentBatch {
    return { before: this.#reader?.position, gap: undefined, messages: [], last: undefined };
  }

  async #handle(batch: CurrentBatch): Promise<void> {
    const { messages } = batch;
    if (batch.gap !== undefined) {
      const { host, from, to, reason } = batch.gap;
      const gap = { from: formatPosition(from), to: formatPosition(to), host, reason };
      if (!(await this.#calls.handleGap(gap))) return;
    }
    const isHandled = await this.#calls.handle(messages, (last) => {
      batch.last = last;
      this.#moveCursorSoon();
    });
    if (isHandled) this.#batch = undefined;
  }

  #originOf(run: FrameRun, { epoch, time }: BatchOrigin, { before }: CurrentBatch): DurableOrigin {
    const { id, crawlerId, host = '' } = run.sender;
    return {
      registry: this.#registry,
      connectionId: id,
      crawlerId,
      host,
      time,
      isValid: run.isValid,
      positionAfter: (offset) => {
        const hosts = new Map(before?.hosts).set(host, { epoch, offset: offset + 1 });
        return formatFleetPosition({ sequence: 0, time: 0, ...before, hosts });
      },
    };
  }

  /** Moves the cursor after what was handled, unless it has just moved: then soon. */
  #moveCursorSoon(): void {
    if (this.#data.cursor === undefined || this.#isStopped) return;
    this.#cursorTimer ??= setTimeout(() => {
      this.#cursorTimer = undefined;
      this.#moveCursor();
    }, CURSOR_INTERVAL).unref();
  }

  #moveCursor(): void {
    const { cursor } = this.#data;
    const handled = this.#handledPosition();
    if (cursor !== undefined && handled !== undefined) this.#fleet.cursors.set(cursor, handled);
  }

  /** After everything that was handled; `undefined` if that is not known yet. */
  #handledPosition(): string | undefined {
    const batch = this.#batch;
    if (batch?.last !== undefined) return batch.last.position;
    const reached = this.#isStopped ? this.#stoppedAt : this.#reader?.position;
    const position = batch === undefined ? reached : batch.before;
    return position && formatFleetPosition(position);
  }
}
