// Recognises messages that the broker repeats after a reconnect, by their numbers in the durable log of their host.

import type { ReceivedMessage } from './received-message.js';

export class Repeats {
  /** Offset of the latest message that was handed out, by host. */
  readonly #latest = new Map<string, number>();
  /** Hosts whose numbers have begun anew: messages of both logs may be queued. */
  readonly #ambiguous = new Set<string>();

  /** Whether a message was handed out before. */
  has(event: ReceivedMessage): boolean {
    const { host = '', offset } = event;
    return offset !== undefined && offset <= (this.#latest.get(host) ?? -1);
  }

  /** Records that a message is handed out: later ones of its host have higher numbers. */
  add({ host = '', offset }: ReceivedMessage): void {
    if (offset !== undefined && !this.#ambiguous.has(host)) this.#latest.set(host, offset);
  }

  /** The log of a host was deleted: from now on, none of its messages is recognised. */
  onNewLog(host = ''): void {
    this.#ambiguous.add(host);
    this.#latest.delete(host);
  }
}
