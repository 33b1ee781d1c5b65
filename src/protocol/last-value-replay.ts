// Copies the latest messages for subscribers that begin with them. 16 MiB take 30 ms of the main thread, so the bytes per
// second are limited, for all subscribers together: a limit for each of them would begin anew with each connection.

import type { Filter } from '../routing/filter.js';
import type { LastMessages, LastValues } from '../routing/last-values.js';
import { SecondLimiter } from './second-limiter.js';

/** Bytes requested per second, with the cost of each message, after which no more messages are copied in this second. */
const MAX_BYTES_PER_SECOND = 128 * 1024 * 1024;
/** Number of bytes that take as long to copy as one value takes to compare with a filter: 10,000 take 0.4 to 0.8 ms. */
const SCAN_OVERHEAD = 32;

export class LastValueReplay {
  readonly #values: LastValues;
  readonly #delimiter: number;
  readonly #bytes: SecondLimiter<LastValueReplay>;

  /** @param now monotonic clock in ms. Default: `performance.now`. */
  constructor(values: LastValues, delimiter: number, now?: () => number) {
    this.#values = values;
    this.#delimiter = delimiter;
    this.#bytes = new SecondLimiter(MAX_BYTES_PER_SECOND, now);
  }

  /**
   * The messages that a filter matches, as {@link LastValues.select} returns them.
   * @param hasRoom whether the subscriber has room for this many bytes
   * @returns `undefined` if it has not, or too many values were visited or bytes requested in this second
   */
  copy(
    filter: Filter,
    hasRoom: (bytes: number) => boolean,
    host?: string,
    partBytes?: number,
  ): LastMessages[] | undefined {
    if (!this.#bytes.hasRoom(this)) return undefined;
    const selected = this.#values.select(filter, this.#delimiter, host, partBytes);
    // Also if it has no room: selecting them takes a third of the time. And all values were visited, although few may match.
    this.#bytes.take(this, selected.cost + this.#values.size * SCAN_OVERHEAD);
    return hasRoom(selected.bytes) ? selected.copy() : undefined;
  }
}
