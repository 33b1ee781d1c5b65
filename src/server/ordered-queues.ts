// Work in queues, one for each connection: a queue's items are done one after the other, in order; queues take
// turns, so many of them at a time. Nothing grows without a bound: a queue that is full says so.

/** Bounds of {@link OrderedQueues}. */
export interface QueueLimits {
  /** Queues that may have an item under way at a time. */
  readonly maxConcurrent: number;
  /** Size of the items in one queue from which on it is full; below half of it, it is not any more. */
  readonly maxQueued: number;
}

export interface QueueWork<K, T> {
  /** Does one item. Never throws or rejects. */
  run(item: T): Promise<void> | undefined;
  /** A queue is full (true), or has room again (false). */
  onFull(key: K, isFull: boolean): void;
}

interface Queue<K, T> {
  readonly key: K;
  items: { readonly item: T; readonly size: number }[];
  /** What the array held before this index is done. */
  head: number;
  size: number;
  isFull: boolean;
  /** Whether it waits for its turn or has it. */
  isScheduled: boolean;
  /** Called when all its items are done. */
  readonly onIdle: (() => void)[];
}

export class OrderedQueues<K, T> {
  readonly #limits: QueueLimits;
  readonly #work: QueueWork<K, T>;
  readonly #queues = new Map<K, Queue<K, T>>();
  /** Queues that wait for their turn. */
  readonly #ready: Queue<K, T>[] = [];
  #running = 0;
  #queued = 0;
  #isStarting = false;
  #idleWaiters: (() => void)[] = [];

  constructor(limits: QueueLimits, work: QueueWork<K, T>) {
    this.#limits = limits;
    this.#work = work;
  }

  /** Items under way whose promise has not settled. */
  get running(): number {
    return this.#running;
  }

  /** Items that wait. */
  get queued(): number {
    return this.#queued;
  }

  /** @param size how much the item counts */
  push(key: K, item: T, size: number): void {
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      queue = { key, items: [], head: 0, size: 0, isFull: false, isScheduled: false, onIdle: [] };
      this.#queues.set(key, queue);
    }
    queue.items.push({ item, size });
    queue.size += size;
    this.#queued++;
    this.#schedule(queue);
    if (!queue.isFull && queue.size >= this.#limits.maxQueued) {
      queue.isFull = true;
      this.#work.onFull(key, true);
    }
  }

  /** Resolves when nothing of this queue waits or is under way. */
  idleOf(key: K): Promise<void> {
    const queue = this.#queues.get(key);
    if (queue === undefined) return Promise.resolve();
    return new Promise((resolve) => queue.onIdle.push(resolve));
  }

  /** Resolves when nothing waits and nothing is under way. */
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

  /** Gives turns as long as there are any to give. What is done at once takes none. */
  #start(): void {
    // An item may push another one: that is taken up by the loop which is already running.
    if (this.#isStarting) return;
    this.#isStarting = true;
    while (this.#running < this.#limits.maxConcurrent) {
      const queue = this.#ready.shift();
      if (queue === undefined) break;
      this.#turn(queue);
    }
    this.#isStarting = false;
    if (this.#running > 0 || this.#queued > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** Does a queue's items up to the first that takes its time. */
  #turn(queue: Queue<K, T>): void {
    for (let next = this.#take(queue); next !== undefined; next = this.#take(queue)) {
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

  #take(queue: Queue<K, T>): { item: T } | undefined {
    const next = queue.items[queue.head];
    if (next === undefined) return undefined;
    queue.head++;
    queue.size -= next.size;
    this.#queued--;
    if (queue.head * 2 > queue.items.length) {
      queue.items = queue.items.slice(queue.head);
      queue.head = 0;
    }
    if (queue.isFull && queue.size <= this.#limits.maxQueued / 2) {
      queue.isFull = false;
      this.#work.onFull(queue.key, false);
    }
    return next;
  }
}
