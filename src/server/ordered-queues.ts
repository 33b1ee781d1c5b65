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

interface Queue<K, T> {
  readonly key: K;
  readonly items: Fifo<{ readonly item: T; readonly size: number }>;
  size: number;
  readonly fullness: Watermark;
  /** Whether it waits for its turn or is running. */
  isScheduled: boolean;
  /** Called when all items are done. */
  readonly onIdle: (() => void)[];
}

export class OrderedQueues<K, T> {
  readonly #limits: QueueLimits;
  readonly #work: QueueWork<K, T>;
  readonly #queues = new Map<K, Queue<K, T>>();
  /** Queues waiting for their turn. */
  readonly #ready = new Fifo<Queue<K, T>>();
  #running = 0;
  #queued = 0;
  #isStarting = false;
  #idleWaiters: (() => void)[] = [];

  constructor(limits: QueueLimits, work: QueueWork<K, T>) {
    this.#limits = limits;
    this.#work = work;
  }

  /** Running items: their promises have not settled. */
  get running(): number {
    return this.#running;
  }

  /** Queued items. */
  get queued(): number {
    return this.#queued;
  }

  /** @param size of the item, counted against `maxQueued` */
  push(key: K, item: T, size: number): void {
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      const fullness = new Watermark(this.#limits.maxQueued, LOW_SHARE);
      queue = { key, items: new Fifo(), size: 0, fullness, isScheduled: false, onIdle: [] };
      this.#queues.set(key, queue);
    }
    queue.items.push({ item, size });
    queue.size += size;
    this.#queued++;
    this.#schedule(queue);
    this.#updateFullness(queue);
  }

  /** Resolves when no item of this queue is queued or running. */
  idleOf(key: K): Promise<void> {
    const queue = this.#queues.get(key);
    if (queue === undefined) return Promise.resolve();
    return new Promise((resolve) => queue.onIdle.push(resolve));
  }

  /** Resolves when no item is queued or running. */
  idle(): Promise<void> {
    if (this.#running === 0 && this.#queued === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  #schedule(queue: Queue<K, T>): void {
    if (!queue.isScheduled) {
      queue.isScheduled = true;
      this.#ready.push(queue);
    }
    this.#start();
  }

  /** Starts waiting queues up to the concurrency limit. Items that finish synchronously do not count. */
  #start(): void {
    // An item may push another one: the loop that is already running picks it up.
    if (this.#isStarting) return;
    this.#isStarting = true;
    while (this.#running < this.#limits.maxConcurrent) {
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
    for (let next = this.#dequeue(queue); next !== undefined; next = this.#dequeue(queue)) {
      const pending = this.#work.run(next.item);
      if (pending === undefined) continue;
      this.#running++;
      void pending.then(() => {
        this.#running--;
        queue.isScheduled = false;
        this.#schedule(queue);
      });
      return;
    }
    queue.isScheduled = false;
    this.#queues.delete(queue.key);
    for (const resolve of queue.onIdle) resolve();
  }

  #dequeue(queue: Queue<K, T>): { item: T } | undefined {
    const next = queue.items.shift();
    if (next === undefined) return undefined;
    queue.size -= next.size;
    this.#queued--;
    this.#updateFullness(queue);
    return next;
  }

  #updateFullness({ key, size, fullness }: Queue<K, T>): void {
    if (fullness.update(size)) this.#work.onFull(key, fullness.isHigh);
  }
}
