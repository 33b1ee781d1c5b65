// Requests for jobs that wait for an application's answer. The oldest request gets the next job. A job that arrives
// while no request is pending (late or unrequested) is kept for the next request.

import { SluiceError } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import { startTimeout } from '../timeout.js';
import type { ReceivedMessage } from './received-message.js';

/** A message that answers a request for jobs. */
export type JobMessage = MessageMap['job_assignment' | 'job_response'];

interface JobRequest {
  /** Monotonic time at which it times out, in ms. */
  readonly deadline: number;
  readonly timer: NodeJS.Timeout | undefined;
  resolve(message: JobMessage): void;
  reject(error: SluiceError): void;
}

/** Maximum number of kept jobs. An application that assigns more than that unrequested is faulty. */
const MAX_KEPT = 16;

export class JobRequests {
  #pending: JobRequest[] = [];
  /** Jobs that arrived while no request was pending. */
  #kept: JobMessage[] = [];

  /** The time that each pending request has left, in ms. */
  get timeouts(): number[] {
    const now = performance.now();
    return this.#pending.map(({ deadline }) => Math.max(0, deadline - now));
  }

  /** Removes and returns the oldest kept job, if any. */
  shift(): JobMessage | undefined {
    return this.#kept.shift();
  }

  /** @param timeout ms until it rejects with `REQUEST_TIMEOUT` */
  add(timeout: number): Promise<JobMessage> {
    return new Promise((resolve, reject) => {
      const timer = startTimeout(timeout, () => {
        this.#pending = this.#pending.filter((other) => other !== request);
        reject(new SluiceError('REQUEST_TIMEOUT', 'job_request'));
      });
      const request = { deadline: performance.now() + timeout, timer, resolve, reject };
      this.#pending.push(request);
    });
  }

  /**
   * Passes a job to the oldest request, or keeps it for the next one.
   * @param hasListeners whether the application receives it if no request is pending: then it is not kept
   * @returns whether the message is a job and was passed or kept
   */
  accept(event: ReceivedMessage, hasListeners: boolean): boolean {
    if (this.#pending.length === 0 && hasListeners) return false;
    if (!event.is('job_assignment') && !event.is('job_response')) return false;
    const message = event.message as JobMessage;
    const request = this.#pending.shift();
    if (request === undefined && this.#kept.length >= MAX_KEPT) return false;
    clearTimeout(request?.timer);
    if (request === undefined) this.#kept.push(message);
    else request.resolve(message);
    return true;
  }

  /** Rejects all pending requests. */
  close(error: SluiceError): void {
    for (const { timer, reject } of this.#pending.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
  }
}
