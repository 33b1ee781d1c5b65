// Work queues, one per connection: the items of a queue run one after the other, in order. Queues take turns, a limited
// number at a time. A full queue is reported, so that the caller can bound its growth.

import { Fifo } from '../fifo.js';
import { Watermark } from '../watermark.js';

/** Limits of {@link OrderedQueues}. */
export interface QueueLimits {
  /** Maximum number of queues with a running item. */
  readonly maxConcurrent: number;
  /** Total size of the items in one queue above which it is full, until it falls to half of that. */
  readonly maxQueued: number;
}

export interface QueueWork<K, T> {
  /** Runs one item. Never throws or rejects. */
  run(item: T): Promise<void> | undefined;
  /** A queue became full (true) or has room again (false). */
  onFull(key: K, isFull: boolean): void;
}

/** The low watermark of a queue's size, as a share of `maxQueued`. */
const LOW_SHARE = 0.5;

interface Entry<T> {
  readonly item: T;
  size: number;
  /** Number of parts of the item, for the statistics. */
  parts: number;
}

interface Queue<K, T> {
  readonly key: K;
  readonly entries: Fifo<Entry<T>>;
  size: number;
  readonly fullness: Watermark;
  /** Whether it waits for its turn or is running. */
  isScheduled: boolean;
  /** Whether the promise of an item has not settled. */
  isRunning: boolean;
  /** Called when all items are done. */
  readonly onIdle: (() => void)[];
}

export class OrderedQueues<K, T> {
  readonly #limits: QueueLimits;
  readonly #work: QueueWork<K, T>;
  readonly #queues = new Map<K, Queue<K, T>>();
  /** Queues waiting for their turn. */
  readonly #ready = new Fifo<Queue<K, T>>();
  /** Queues that will wait for their turn at the end of this turn of the event loop. */
  #deferred: Queue<K, T>[] = [];
  #runningQueues = 0;
  #running = 0;
  #queued = 0;
  #isStarting = false;
  /** Key of the item that runs without a queue. */
  #current: K | undefined;
  #idleWaiters: (() => void)[] = [];

  constructor(limits: QueueLimits, work: QueueWork<K, T>) {
    this.#limits = limits;
    this.#work = work;
  }

  /** Parts of running items: their promises have not settled. */
  get running(): number {
    return this.#running;
  }

  /** Parts of queued items. */
  get queued(): number {
    return this.#queued;
  }

  /** Runs an item at once if nothing is before it, or else when its turn comes. @param size counted against `maxQueued` */
  push(key: K, item: T, size: number): void {
    const isFree = !this.#isStarting && this.#runningQueues < this.#limits.maxConcurrent;
    // Most items finish synchronously: they need no queue.
    if (isFree && this.#ready.length === 0 && !this.#queues.has(key)) return this.#runAtOnce(key, item);
    const queue = this.#enqueue(key, item, size);
    this.#schedule(queue);
    this.#updateFullness(queue);
  }

  /** Queues an item that does not run before the current function has returned, so that it can still {@link grow}. */
  pushDeferred(key: K, item: T, size: number): void {
    const queue = this.#enqueue(key, item, size);
    if (!queue.isScheduled) {
      queue.isScheduled = true;
      if (this.#deferred.push(queue) === 1) queueMicrotask(this.#startDeferred);
    }
    this.#updateFullness(queue);
  }

  /** The last queued item of a key, which has not been started. */
  last(key: K): T | undefined {
    return this.#queues.get(key)?.entries.peekLast()?.item;
  }

  /** Records that the last queued item of a key has got another part of this size. */
  grow(key: K, size: number): void {
    const queue = this.#queues.get(key);
    const entry = queue?.entries.peekLast();
    if (queue === undefined || entry === undefined) return;
    entry.size += size;
    entry.parts++;
    queue.size += size;
    this.#queued++;
    this.#updateFullness(queue);
  }

  /** Resolves when no item of this queue is queued or running. */
  idleOf(key: K): Promise<void> {
    if (key !== this.#current && !this.#queues.has(key)) return Promise.resolve();
    return new Promise((resolve) => this.#queueOf(key).onIdle.push(resolve));
  }

  /** Resolves when no item is queued or running. */
  idle(): Promise<void> {
    if (this.#running === 0 && this.#queued === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  #queueOf(key: K): Queue<K, T> {
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      const fullness = new Watermark(this.#limits.maxQueued, LOW_SHARE);
      const flags = { isScheduled: false, isRunning: false };
      queue = { key, entries: new Fifo(), size: 0, fullness, ...flags, onIdle: [] };
      this.#queues.set(key, queue);
    }
    return queue;
  }

  #enqueue(key: K, item: T, size: number): Queue<K, T> {
    const queue = this.#queueOf(key);
    queue.entries.push({ item, size, parts: 1 });
    queue.size += size;
    this.#queued++;
    return queue;
  }

  #runAtOnce(key: K, item: T): void {
    this.#isStarting = true;
    this.#current = key;
    const pending = this.#work.run(item);
    this.#isStarting = false;
    this.#current = undefined;
    if (pending !== undefined) this.#await(this.#queueOf(key), pending, 1);
    else {
      // The item may have pushed another one, or something may wait for it.
      const queue = this.#queues.get(key);
      if (queue !== undefined) this.#schedule(queue);
    }
    if (this.#ready.length > 0) this.#start();
  }

  #schedule(queue: Queue<K, T>): void {
    if (!queue.isScheduled) {
      queue.isScheduled = true;
      this.#ready.push(queue);
    }
    this.#start();
  }

  readonly #startDeferred = (): void => {
    for (const queue of this.#deferred) this.#ready.push(queue);
    this.#deferred = [];
    this.#start();
  };

  /** Starts waiting queues up to the concurrency limit. Items that finish synchronously do not count. */
  #start(): void {
    // An item may push another one: the loop that is already running picks it up.
    if (this.#isStarting) return;
    this.#isStarting = true;
    while (this.#runningQueues < this.#limits.maxConcurrent) {
      const queue = this.#ready.shift();
      if (queue === undefined) break;
      this.#runQueue(queue);
    }
    this.#isStarting = false;
    if (this.#running > 0 || this.#queued > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** Runs a queue's items up to the first that returns a promise. */
  #runQueue(queue: Queue<K, T>): void {
    // It is scheduled again when the promise has settled.
    if (queue.isRunning) return;
    for (let next = this.#dequeue(queue); next !== undefined; next = this.#dequeue(queue)) {
      const pending = this.#work.run(next.item);
      if (pending !== undefined) return this.#await(queue, pending, next.parts);
    }
    queue.isScheduled = false;
    this.#queues.delete(queue.key);
    for (const resolve of queue.onIdle) resolve();
  }

  #await(queue: Queue<K, T>, pending: Promise<void>, parts: number): void {
    queue.isScheduled = true;
    queue.isRunning = true;
    this.#runningQueues++;
    this.#running += parts;
    void pending.then(() => {
      queue.isScheduled = false;
      queue.isRunning = false;
      this.#runningQueues--;
      this.#running -= parts;
      this.#schedule(queue);
    });
  }

  #dequeue(queue: Queue<K, T>): Entry<T> | undefined {
    const next = queue.entries.shift();
    if (next === undefined) return undefined;
    queue.size -= next.size;
    this.#queued -= next.parts;
    this.#updateFullness(queue);
    return next;
  }

  #updateFullness({ key, size, fullness }: Queue<K, T>): void {
    if (fullness.update(size)) this.#work.onFull(key, fullness.isHigh);
  }
}
