// Heartbeats that send themselves, for as long as there is a connection. One that was not written yet is not
// followed by another: the broker hears the bytes that are on their way.

import type { MessageInputMap } from '../messages/messages.js';
import { rethrowLater } from './client-events.js';

/** What a heartbeat tells. */
export type HeartbeatData = MessageInputMap['heartbeat']['data'];

/** What a client's own heartbeats say, and how often. */
export interface HeartbeatOptions {
  /** ms between two heartbeats; default 5000. */
  readonly interval?: number | undefined;
  /** Called for each heartbeat: what it tells. When it throws, that one is left out. */
  readonly fields: () => HeartbeatData;
}

/** ms between two heartbeats, when nothing else is said: what the broker expects by default. */
const DEFAULT_INTERVAL = 5000;

export class Heartbeats {
  readonly #options: HeartbeatOptions;
  readonly #send: (data: HeartbeatData, onWritten: () => void) => void;
  #timer: NodeJS.Timeout | undefined;
  #isWaiting = false;

  /** @param send writes one heartbeat, and calls back when the socket has taken it */
  constructor(options: HeartbeatOptions, send: (data: HeartbeatData, onWritten: () => void) => void) {
    this.#options = options;
    this.#send = send;
  }

  /** Sends the first at once, and then one every interval. */
  start(): void {
    this.stop();
    this.#isWaiting = false;
    this.#timer = setInterval(() => this.#beat(), this.#options.interval ?? DEFAULT_INTERVAL);
    this.#beat();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #beat(): void {
    if (this.#isWaiting) return;
    const data = this.#read();
    if (data === undefined) return;
    this.#isWaiting = true;
    this.#send(data, () => {
      this.#isWaiting = false;
    });
  }

  /** What to tell; nothing this time when the application's function throws. */
  #read(): HeartbeatData | undefined {
    try {
      return this.#options.fields();
    } catch (error) {
      rethrowLater(error);
      return undefined;
    }
  }
}
