// A publisher that sends as fast as the broker takes it.

import { line, VALID } from './messages.js';
import { numberedBlock } from './numbered.js';
import type { Peer } from './peer.js';

const MESSAGES_PER_WRITE = 200;
/** What slow-schemas.mjs takes long over. */
const SLOW = line({ ...VALID.job_failed, data: { ...VALID.job_failed.data, retryCount: 0 } });

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

  /** Numbered messages sent. */
  get sent(): number {
    return this.#sent;
  }

  /** Sends no more, and waits until the broker has settled what was sent. */
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
