// A client's requests on one connection, until they are answered, rejected or timed out.

import { SluiceError, WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import { startTimeout } from '../timeout.js';

/** The broker's answers to a client's requests. */
export type Answer = 'welcome' | 'subscribed' | 'unsubscribed' | 'pong';

interface Request {
  /** Message types of the request and of its answer. */
  readonly type: string;
  readonly answer: Answer;
  readonly id: string | undefined;
  settle: Settle;
}

/**
 * Called once for a request.
 * @param error the reason, if there is no answer
 * @param subscribed the data of a `subscribed`
 */
export type Settle = (error?: SluiceError, subscribed?: MessageMap['subscribed']['data']) => void;

export class PendingRequests {
  readonly #timeout: number;
  #requests: Request[] = [];

  /** @param timeout of each request, in ms */
  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** Number of unanswered requests. */
  get size(): number {
    return this.#requests.length;
  }

  /**
   * Registers a request that awaits an answer.
   * @param type message type of the request, which an `error` repeats
   * @param id the ID that the answer repeats
   */
  add(type: string, answer: Answer, id: string | undefined, settle: Settle): void {
    const timer = startTimeout(this.#timeout, () => {
      this.#requests = this.#requests.filter((other) => other !== request);
      settle(new SluiceError('REQUEST_TIMEOUT', type));
    });
    const request: Request = {
      type,
      answer,
      id,
      settle: (...result) => {
        clearTimeout(timer);
        settle(...result);
      },
    };
    this.#requests.push(request);
  }

  /** Settles the request that the broker has answered. */
  answer(answer: Answer, id: string | undefined, subscribed?: MessageMap['subscribed']['data']): void {
    this.#remove((request) => request.answer === answer && request.id === id)?.settle(undefined, subscribed);
  }

  /** Fails the oldest request of the type that the error names: the broker rejects requests in order. */
  reject(error: MessageMap['error']['data']): void {
    this.#remove(({ type }) => type === error.messageType)?.settle(rejection(error));
  }

  /** Fails all requests: no more answers can arrive. */
  close(error: SluiceError): void {
    for (const request of this.#requests.splice(0)) request.settle(error);
  }

  #remove(matches: (request: Request) => boolean): Request | undefined {
    const at = this.#requests.findIndex(matches);
    return at === -1 ? undefined : this.#requests.splice(at, 1)[0];
  }
}

/** Converts the broker's `error` message to an exception. */
export function rejection({ code, issues }: MessageMap['error']['data']): SluiceError {
  const detail = (issues ?? []).map(({ path, message }) => `${path} ${message}`).join('; ');
  return new SluiceError(wireCode(code), detail);
}

/** The broker's error code; one that is unknown to this version becomes `INVALID_MESSAGE`. */
function wireCode(code: string): WireErrorCode | 'INVALID_MESSAGE' {
  return Object.hasOwn(WIRE_ERRORS, code) ? (code as WireErrorCode) : 'INVALID_MESSAGE';
}
