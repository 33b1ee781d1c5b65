// Requests for jobs that wait for an application's answer: the one that has waited longest gets the next.

import { SluiceError } from '../errors.js';
import type { MessageMap } from '../protocol/messages.js';
import type { ReceivedMessage } from './received-message.js';

/** What answers a request for jobs. */
export type JobMessage = MessageMap['job_assignment' | 'job_response'];

interface JobRequest {
  readonly timer: NodeJS.Timeout;
  resolve(message: JobMessage): void;
  reject(error: SluiceError): void;
}

export class JobRequests {
  #waiting: JobRequest[] = [];

  /** How many wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** @param timeout ms to wait; then it rejects with `REQUEST_TIMEOUT` */
  add(timeout: number): Promise<JobMessage> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((other) => other !== request);
        reject(new SluiceError('REQUEST_TIMEOUT', 'job_request'));
      }, timeout);
      const request = { timer, resolve, reject };
      this.#waiting.push(request);
    });
  }

  /** Whether the message is an answer that somebody waited for. */
  take(event: ReceivedMessage): boolean {
    if (this.#waiting.length === 0) return false;
    if (!event.is('job_assignment') && !event.is('job_response')) return false;
    const request = this.#waiting.shift();
    clearTimeout(request?.timer);
    request?.resolve(event.message as JobMessage);
    return true;
  }

  close(error: SluiceError): void {
    for (const { timer, reject } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
  }
}
