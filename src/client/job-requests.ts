// Requests for jobs that wait for an application's answer: the one that has waited longest gets the next. A job that
// comes when nobody waits, late or unasked, is kept for the next request.

import { SluiceError } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import type { ReceivedMessage } from './received-message.js';
import { startTimeout } from './timeouts.js';

/** What answers a request for jobs. */
export type JobMessage = MessageMap['job_assignment' | 'job_response'];

interface JobRequest {
  readonly timer: NodeJS.Timeout | undefined;
  resolve(message: JobMessage): void;
  reject(error: SluiceError): void;
}

/** Job messages that are kept at most. An application that gives a crawler more work than that unasked is mistaken. */
const MAX_KEPT = 16;

export class JobRequests {
  #waiting: JobRequest[] = [];
  /** Jobs that nobody has waited for. */
  #kept: JobMessage[] = [];

  /** How many wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Takes a job that was kept, if there is one. */
  shift(): JobMessage | undefined {
    return this.#kept.shift();
  }

  /** @param timeout ms to wait; then it rejects with `REQUEST_TIMEOUT` */
  add(timeout: number): Promise<JobMessage> {
    return new Promise((resolve, reject) => {
      const timer = startTimeout(timeout, () => {
        this.#waiting = this.#waiting.filter((other) => other !== request);
        reject(new SluiceError('REQUEST_TIMEOUT', 'job_request'));
      });
      const request = { timer, resolve, reject };
      this.#waiting.push(request);
    });
  }

  /**
   * Whether the message is a job that a request takes, now or later.
   * @param isHeard whether the application gets it if nobody waits: then it is not kept for a request
   */
  take(event: ReceivedMessage, isHeard: boolean): boolean {
    if (this.#waiting.length === 0 && isHeard) return false;
    if (!event.is('job_assignment') && !event.is('job_response')) return false;
    const message = event.message as JobMessage;
    const request = this.#waiting.shift();
    if (request === undefined && this.#kept.length >= MAX_KEPT) return false;
    clearTimeout(request?.timer);
    if (request === undefined) this.#kept.push(message);
    else request.resolve(message);
    return true;
  }

  /** None of those that wait gets an answer. */
  close(error: SluiceError): void {
    for (const { timer, reject } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
  }
}
