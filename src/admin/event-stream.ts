// `/events`: one snapshot per second for each listener (server-sent events). Nothing is measured without listeners.

import type { ServerResponse } from 'node:http';

/** ms between two events. */
const INTERVAL = 1000;
/** Maximum number of listeners. */
export const MAX_LISTENERS = 32;
/** A listener with more unsent bytes than this misses events until it has caught up. */
const MAX_UNSENT = 1024 * 1024;

export class EventStream {
  readonly #snapshot: () => unknown;
  readonly #listeners = new Set<ServerResponse>();
  #timer: NodeJS.Timeout | undefined;

  /** @param snapshot returns the data to send, or `undefined` if there is none yet */
  constructor(snapshot: () => unknown) {
    this.#snapshot = snapshot;
  }

  /** Starts a stream. @returns false if there are too many */
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
    for (const response of listeners) if (response.writableLength <= MAX_UNSENT) response.write(event);
  }

  #remove(response: ServerResponse): void {
    this.#listeners.delete(response);
    if (this.#listeners.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
