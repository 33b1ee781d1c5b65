// What has arrived during a test, for code that waits for some of it. Each item is taken once.

import { SluiceError } from '../errors.js';
import { startTimeout } from '../timeout.js';

interface Waiter<T> {
  matches(item: T): boolean;
  resolve(item: T): void;
  reject(error: unknown): void;
}

/** More items than this are not kept: the oldest ones are dropped. */
const MAX_ITEMS = 10_000;

/** @typeParam T what arrives */
export class Inbox<T> {
  readonly #items: T[] = [];
  readonly #waiters = new Set<Waiter<T>>();
  readonly #nameOf: (item: T) => string;

  /** @param nameOf what an item is called if another one is missing */
  constructor(nameOf: (item: T) => string) {
    this.#nameOf = nameOf;
  }

  add(item: T): void {
    for (const waiter of this.#waiters) {
      try {
        if (!waiter.matches(item)) continue;
        waiter.resolve(item);
        return;
      } catch (error) {
        // The item is there for others.
        waiter.reject(error);
      }
    }
    this.#items.push(item);
    if (this.#items.length > MAX_ITEMS) this.#items.shift();
  }

  /**
   * Takes the first item that matches, now or later.
   * @param what it is called if it does not arrive
   * @param timeout in ms
   * @param hint more about what has arrived, for the error
   * @throws SluiceError `REQUEST_TIMEOUT`; its message names what has arrived instead; or what `matches` throws
   */
  async take(
    matches: (item: T) => boolean,
    what: string,
    timeout: number,
    hint: () => string = () => '',
  ): Promise<T> {
    const at = this.#items.findIndex(matches);
    const [known] = at === -1 ? [] : this.#items.splice(at, 1);
    if (known !== undefined) return known;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter<T> = {
        matches,
        resolve: (item) => {
          end();
          resolve(item);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      const timer = startTimeout(timeout, () => {
        const detail = `no ${what} within ${timeout} ms; received: ${this.content || 'nothing'}${hint()}`;
        waiter.reject(new SluiceError('REQUEST_TIMEOUT', detail));
      });
      this.#waiters.add(waiter);
    });
  }

  /** The names of all items, with their numbers: `2 × heartbeat, 1 × job_started`. */
  get content(): string {
    const counts = new Map<string, number>();
    for (const item of this.#items) {
      const name = this.#nameOf(item);
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return [...counts].map(([name, count]) => `${count} × ${name}`).join(', ');
  }
}
