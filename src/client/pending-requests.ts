// What a client has asked the broker on one connection, until it is answered, rejected or given up.

import { SluiceError, WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import { startTimeout } from './timeouts.js';

/** The broker's answers to a client's requests. */
export type Answer = 'welcome' | 'subscribed' | 'unsubscribed' | 'pong';

interface Request {
  /** What was asked, and what answers it. */
  readonly type: string;
  readonly answer: Answer;
  readonly id: string | undefined;
  settle(error?: SluiceError): void;
}

export class PendingRequests {
  readonly #timeout: number;
  #requests: Request[] = [];

  /** @param timeout ms after which a request is given up */
  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** How many are not answered. */
  get size(): number {
    return this.#requests.length;
  }

  /**
   * Waits for an answer.
   * @param type what was asked: an `error` names it
   * @param id what the answer repeats
   * @param settle called once: with nothing, or with why there is no answer
   */
  add(type: string, answer: Answer, id: string | undefined, settle: (error?: SluiceError) => void): void {
    const timer = startTimeout(this.#timeout, () => {
      this.#requests = this.#requests.filter((other) => other !== request);
      settle(new SluiceError('REQUEST_TIMEOUT', type));
    });
    const request: Request = {
      type,
      answer,
      id,
      settle: (error) => {
        clearTimeout(timer);
        settle(error);
      },
    };
    this.#requests.push(request);
  }

  /** The broker has answered. */
  answer(answer: Answer, id: string | undefined): void {
    this.#take((request) => request.answer === answer && request.id === id)?.settle();
  }

  /** The broker has rejected something. It rejects requests in the order they were made, and names their type. */
  reject(error: MessageMap['error']['data']): void {
    this.#take(({ type }) => type === error.messageType)?.settle(rejection(error));
  }

  /** No answer can come any more. */
  close(error: SluiceError): void {
    for (const request of this.#requests.splice(0)) request.settle(error);
  }

  #take(fits: (request: Request) => boolean): Request | undefined {
    const at = this.#requests.findIndex(fits);
    return at === -1 ? undefined : this.#requests.splice(at, 1)[0];
  }
}

/** What the broker rejects with, as an error. */
export function rejection({ code, issues }: MessageMap['error']['data']): SluiceError {
  const detail = (issues ?? []).map(({ path, message }) => `${path} ${message}`).join('; ');
  return new SluiceError(wireCode(code), detail);
}

/** A code as the broker wrote it; one that this version does not know counts as `INVALID_MESSAGE`. */
function wireCode(code: string): WireErrorCode | 'INVALID_MESSAGE' {
  return Object.hasOwn(WIRE_ERRORS, code) ? (code as WireErrorCode) : 'INVALID_MESSAGE';
}
