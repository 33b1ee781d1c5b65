// A subscription to the messages of all hosts of a fleet, as one of the targets of a reader.

import { cutRun, type FrameRun, Selection, WITH_META, wholeRun } from '../delivery/frame-run.js';
import type { Piece } from '../delivery/outbox.js';
import { formatFleetPosition } from '../fleet/fleet-position.js';
import type { FleetGap, StreamReader, StreamTarget } from '../fleet/stream-reader.js';
import { formatPosition } from '../log/position.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import { type Filter, matchesMessage } from '../routing/filter.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';

export interface FleetSubscriptionOptions {
  readonly id: string;
  /** Name of the cursor that it moves, if it does. */
  readonly cursor?: string | undefined;
  readonly delimiter: number;
  /** Whether it waits for its subscriber, and sends it positions. Else it is live. */
  readonly isPaced: boolean;
  /** All subscriptions that hold messages until they start. */
  readonly holding: Set<unknown>;
  /** A position was written to the subscriber's socket. */
  onWritten(position: string): void;
  /** Called once. */
  onStopped(): void;
}

/** Bytes that may wait in the outbox of a subscriber that is waited for. */
const MAX_WAITING = 512 * 1024;
/**
 * Maximum bytes that a subscription holds until it starts, also as a share of what may be pending, and that all of them
 * hold. Above it, it should not wait for the last values of more hosts.
 */
const MAX_HELD = 16 * 1024 * 1024;
const HELD_SHARE = 0.25;
const MAX_HELD_BY_ALL = 64 * 1024 * 1024;
/** Minimum time between two positions, in ms: they name all hosts. */
const POSITION_INTERVAL = 100;

/** @typeParam P the type of connections */
export class FleetSubscription<P extends Peer> implements StreamTarget {
  readonly connection: P;
  readonly reportsPresence = true;
  readonly #filter: Filter;
  readonly #options: FleetSubscriptionOptions;
  readonly #selection = new Selection();
  #positionedAt = Number.NEGATIVE_INFINITY;
  #positionTimer: NodeJS.Timeout | undefined;
  #isStopped = false;
  /** Ends the current wait for the subscriber. */
  #resume: () => void = () => {};
  /** Sends what has arrived, once it starts; `undefined` from then on. */
  #held: (() => void)[] | undefined = [];
  /** Bytes that it holds until it starts. */
  heldBytes = 0;
  /** Resolves when it holds much, or is stopped. */
  readonly whenFull: Promise<void>;
  #resolveFull: () => void = () => {};

  constructor(connection: P, filter: Filter, options: FleetSubscriptionOptions) {
    this.connection = connection;
    this.#filter = filter;
    this.#options = options;
    options.holding.add(this);
    this.whenFull = new Promise((resolve) => {
      this.#resolveFull = resolve;
    });
  }

  get id(): string {
    return this.#options.id;
  }

  get cursor(): string | undefined {
    return this.#options.cursor;
  }

  /**
   * Sends what has arrived so far. The subscriber knows of the subscription, and has its last values. This belongs to the
   * requested beginning: the overflow policy does not apply to it.
   */
  start(): void {
    const held = this.#held ?? [];
    this.#endHolding();
    for (const send of held) send();
  }

  deliver(run: FrameRun): void {
    if (this.#isStopped) return;
    for (const piece of this.#select(run)) {
      // A reader of its own reads nothing before the subscription is confirmed.
      if (this.#options.isPaced) this.connection.outbox.deliverStored(piece);
      else if (this.#held === undefined) this.connection.deliver(piece);
      else this.#holdCopy(piece);
    }
  }

  #holdCopy({ bytes, slab, messages }: Piece): void {
    const copy = slab === undefined ? bytes : cloneBytes(bytes);
    this.#hold(copy.length, () => this.connection.outbox.answer(copy, messages));
  }

  /** @param bytes of what is sent once the subscription starts */
  #hold(bytes: number, send: () => void): void {
    this.#held?.push(send);
    this.heldBytes += bytes;
    const share = this.connection.outbox.maxPendingBytes * HELD_SHARE;
    if (this.heldBytes > Math.min(MAX_HELD, share, MAX_HELD_BY_ALL / this.#options.holding.size))
      this.#resolveFull();
  }

  #endHolding(): void {
    this.#held = undefined;
    this.#options.holding.delete(this);
  }

  /** Delivers a report about the presence of a crawler, as a line. */
  deliverPresence(line: Buffer, crawlerId: string | undefined): void {
    const filter = this.#filter;
    if (this.#isStopped || !filter.matchesPresence || !filter.matchesCrawler(crawlerId)) return;
    if (this.#held !== undefined) return this.#hold(line.length, () => this.connection.reply(line));
    this.connection.deliver({ bytes: line, slab: undefined, messages: 1, isControl: true });
    this.connection.flush();
  }

  onGap({ host, from, to, reason }: FleetGap): void {
    const { id, delimiter } = this.#options;
    if (this.#isStopped) return;
    const gap = { id, from: formatPosition(from), to: formatPosition(to), reason, host };
    const line = brokerLine('gap', gap, delimiter);
    if (this.#held === undefined) this.connection.reply(line);
    else this.#hold(line.length, () => this.connection.reply(line));
  }

  /** All wait for a live subscriber with `block` that has fallen behind, as for one of this host's messages. */
  beforeBatch(): Promise<void> | undefined {
    const { connection } = this;
    const { outbox } = connection;
    const mustWait = this.#options.isPaced || (outbox.policy === 'block' && !connection.hasRoom(0, 0));
    if (this.#isStopped || !mustWait || outbox.pendingBytes <= MAX_WAITING) return undefined;
    return new Promise((resolve) => {
      this.#resume = resolve;
      void outbox.whenBelow(MAX_WAITING).then(resolve);
    });
  }

  afterBatch(reader: StreamReader): undefined {
    if (this.#isStopped) return;
    this.connection.flush();
    if (!this.#options.isPaced) return;
    const wait = this.#positionedAt + POSITION_INTERVAL - performance.now();
    if (wait <= 0) this.#sendPosition(reader);
    else this.#positionTimer ??= setTimeout(() => this.#sendPosition(reader), wait);
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#endHolding();
    clearTimeout(this.#positionTimer);
    this.#resume();
    this.#resolveFull();
    this.#options.onStopped();
  }

  #select(run: FrameRun): ReturnType<typeof cutRun> {
    const filter = this.#filter;
    if (filter.matchesAll && filter.mark !== WITH_META) return [wholeRun(run)];
    this.#selection.clear();
    for (let at = 0; at < run.count; at++)
      if (matchesMessage(filter, run, at)) this.#selection.add(at, filter.mark);
    return cutRun(run, this.#selection);
  }

  /** Sends the position after all messages that were delivered. */
  #sendPosition(reader: StreamReader): void {
    clearTimeout(this.#positionTimer);
    this.#positionTimer = undefined;
    const reached = reader.position;
    if (this.#isStopped || !this.connection.isOpen || reached === undefined) return;
    this.#positionedAt = performance.now();
    const { id, delimiter, onWritten } = this.#options;
    const position = formatFleetPosition(reached);
    this.connection.outbox.reply(brokerLine('position', { id, position }, delimiter), (error) => {
      if (error === undefined && !this.#isStopped) onWritten(position);
    });
    this.connection.flush();
  }
}
