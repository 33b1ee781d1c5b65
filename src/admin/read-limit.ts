// Limits the requests that read much at once.

import { RequestError } from './reply.js';

const MAX_READS = 2;

export class ReadLimit {
  readonly #what: string;
  #reads = 0;

  /** @param what is read */
  constructor(what: string) {
    this.#what = what;
  }

  /** @throws RequestError if there are too many */
  async use<T>(read: () => Promise<T>): Promise<T> {
    if (this.#reads >= MAX_READS)
      throw new RequestError(503, `too many requests read the ${this.#what}: try it again`);
    this.#reads++;
    try {
      return await read();
    } finally {
      this.#reads--;
    }
  }
}
