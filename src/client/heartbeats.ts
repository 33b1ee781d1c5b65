// Sends heartbeats while connected. A heartbeat is skipped if the previous one is not written yet: the broker still
// receives the bytes in transit.

import type { MessageInputMap } from '../messages/messages.js';
import { rethrowLater } from './client-events.js';

/** Data of a heartbeat. */
export type HeartbeatData = MessageInputMap['heartbeat']['data'];

/** Data and interval of automatic heartbeats. */
export interface HeartbeatOptions {
  /** ms between two heartbeats. Default: 5000. */
  readonly interval?: number | undefined;
  /** Returns the data of each heartbeat. If it throws, that heartbeat is skipped. */
  readonly fields: () => HeartbeatData;
}

/** Default interval in ms, which is the interval that the broker expects by default. */
const DEFAULT_INTERVAL = 5000;

export class Heartbeats {
  readonly #options: HeartbeatOptions;
  readonly #send: (data: HeartbeatData, onWritten: () => void) => void;
  #timer: NodeJS.Timeout | undefined;
  #isWriting = false;

  /** @param send writes one heartbeat, and calls back when it is written, or never will be */
  constructor(options: HeartbeatOptions, send: (data: HeartbeatData, onWritten: () => void) => void) {
    this.#options = options;
    this.#send = send;
  }

  /** Sends the first heartbeat immediately, then one per interval. */
  start(): void {
    this.stop();
    this.#isWriting = false;
    this.#timer = setInterval(() => this.#sendNext(), this.#options.interval ?? DEFAULT_INTERVAL);
    this.#sendNext();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sendNext(): void {
    if (this.#isWriting) return;
    const data = this.#readFields();
    if (data === undefined) return;
    this.#isWriting = true;
    this.#send(data, () => {
      this.#isWriting = false;
    });
  }

  /** Returns the data to send; `undefined` if the application's function throws. */
  #readFields(): HeartbeatData | undefined {
    try {
      return this.#options.fields();
    } catch (error) {
      rethrowLater(error);
      return undefined;
    }
  }
}
