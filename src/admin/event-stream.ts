// `/events`: a snapshot a second for each that listens (server-sent events). While nobody does, nothing is measured.

import type { ServerResponse } from 'node:http';

/** ms between two events. */
const INTERVAL = 1000;
/** Listeners at a time. */
const MAX_LISTENERS = 32;
/** A listener that is so far behind, in bytes, misses events until it has caught up. */
const MAX_BEHIND = 1024 * 1024;

export class EventStream {
  readonly #snapshot: () => unknown;
  readonly #listeners = new Set<ServerResponse>();
  #timer: NodeJS.Timeout | undefined;

  /** @param snapshot what to send; `undefined`: nothing yet */
  constructor(snapshot: () => unknown) {
    this.#snapshot = snapshot;
  }

  /** Starts a stream. False when there are too many. */
  add(response: ServerResponse): boolean {
    if (this.#listeners.size >= MAX_LISTENERS) return false;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    if (response.req.method === 'HEAD') {
      response.end();
      return true;
    }
    response.write(`retry: ${INTERVAL}\n\n`);
    this.#listeners.add(response);
    response.on('close', () => this.#remove(response));
    this.#send([response]);
    this.#timer ??= setInterval(() => this.#send(this.#listeners), INTERVAL).unref();
    return true;
  }

  /** Ends all streams. */
  close(): void {
    for (const response of [...this.#listeners]) {
      this.#remove(response);
      response.end();
    }
  }

  #send(listeners: Iterable<ServerResponse>): void {
    const snapshot = this.#snapshot();
    if (snapshot === undefined) return;
    const event = `data: ${JSON.stringify(snapshot)}\n\n`;
    for (const response of listeners) if (response.writableLength <= MAX_BEHIND) response.write(event);
  }

  #remove(response: ServerResponse): void {
    this.#listeners.delete(response);
    if (this.#listeners.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
