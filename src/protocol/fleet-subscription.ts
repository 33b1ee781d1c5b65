// A subscription to the messages of all hosts of a fleet, as one of the targets of a reader.

import { cutRun, type FrameRun, Selection, WITH_META, wholeRun } from '../delivery/frame-run.js';
import { formatFleetPosition } from '../fleet/fleet-position.js';
import type { FleetGap, StreamReader, StreamTarget } from '../fleet/stream-reader.js';
import { formatPosition } from '../log/position.js';
import { type Filter, matchesMessage } from '../routing/filter.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';

export interface FleetSubscriptionOptions {
  readonly id: string;
  readonly delimiter: number;
  /** Whether it waits for its subscriber, and sends it positions. Else it is live. */
  readonly isPaced: boolean;
  /** A position was written to the subscriber's socket. */
  onWritten(position: string): void;
  /** Called once. */
  onStopped(): void;
}

/** Bytes that may wait in the outbox of a subscriber that is waited for. */
const MAX_WAITING = 512 * 1024;
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

  constructor(connection: P, filter: Filter, options: FleetSubscriptionOptions) {
    this.connection = connection;
    this.#filter = filter;
    this.#options = options;
  }

  get id(): string {
    return this.#options.id;
  }

  deliver(run: FrameRun): void {
    if (this.#isStopped) return;
    const { connection } = this;
    for (const piece of this.#select(run)) {
      if (this.#options.isPaced) connection.outbox.deliverStored(piece);
      else connection.deliver(piece);
    }
  }

  /** Delivers a report about the presence of a crawler, as a line. */
  deliverPresence(line: Buffer, crawlerId: string | undefined): void {
    const filter = this.#filter;
    if (this.#isStopped || !filter.matchesPresence || !filter.matchesCrawler(crawlerId)) return;
    this.connection.deliver({ bytes: line, slab: undefined, messages: 1, isControl: true });
    this.connection.flush();
  }

  onGap({ host, from, to, reason }: FleetGap): void {
    const { id, delimiter } = this.#options;
    const gap = { id, from: formatPosition(from), to: formatPosition(to), reason, host };
    if (!this.#isStopped) this.connection.reply(brokerLine('gap', gap, delimiter));
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
    clearTimeout(this.#positionTimer);
    this.#resume();
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
