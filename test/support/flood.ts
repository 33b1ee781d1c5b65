// A publisher that sends as fast as the broker reads.

import { line, VALID } from './messages.js';
import { numberedBlock } from './numbered.js';
import type { Peer } from './peer.js';

const MESSAGES_PER_WRITE = 200;
/** A message for which the rule in slow-schemas.mjs takes long. */
export const SLOW = line({ ...VALID.job_failed, data: { ...VALID.job_failed.data, retryCount: 0 } });

export class Flood {
  readonly peer: Peer;
  readonly producer: number;
  readonly #tail: string;
  #sent = 0;
  #isOver = false;

  /** @param isSlow whether some of the messages make the workers of slow-schemas.mjs slow */
  constructor(peer: Peer, producer: number, isSlow = false) {
    this.peer = peer;
    this.producer = producer;
    this.#tail = isSlow ? SLOW : '';
    peer.socket.on('drain', this.#write);
    this.#write();
  }

  /** Number of numbered messages sent. */
  get sent(): number {
    return this.#sent;
  }

  /** Stops sending, and waits until the broker has settled all sent messages. */
  async finish(): Promise<void> {
    this.#isOver = true;
    await this.peer.settled();
  }

  readonly #write = (): void => {
    let wantsMore = true;
    while (wantsMore && !this.#isOver && this.peer.socket.writable) {
      const to = this.#sent + MESSAGES_PER_WRITE;
      wantsMore = this.peer.socket.write(numberedBlock(this.producer, this.#sent, to) + this.#tail);
      this.#sent = to;
    }
  };
}
