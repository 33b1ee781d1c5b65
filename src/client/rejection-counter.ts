// Counts rejected messages, and warns once if nothing listens for them: otherwise a client whose messages are all invalid
// would seem to work.

import type { WireErrorCode } from '../errors.js';
import type { BrokerError } from './broker-session.js';

/** Codes about the connection and not about a message. */
const CONNECTION_CODES: ReadonlySet<string> = new Set<WireErrorCode>([
  'MAX_CONNECTIONS',
  'REPLACED',
  'LOG_UNAVAILABLE',
  'SHUTTING_DOWN',
  'SLOW_CONSUMER',
  'UNSUPPORTED_VERSION',
]);
/** Messages that the client itself sends, whose rejection is reported by the method that sent them, or its subscription. */
const REQUEST_TYPES: ReadonlySet<string> = new Set(['hello', 'subscribe', 'unsubscribe', 'job_request']);

export class RejectionCounter {
  #total = 0;
  /** Rejections by code that nothing has listened for, until the warning. */
  readonly #unheard = new Map<string, number>();
  #hasWarned = false;

  get total(): number {
    return this.#total;
  }

  /** @param isHeard whether the application listens for rejections */
  record({ code, line, messageType }: BrokerError, isHeard: boolean): void {
    const isRequest = line === undefined && messageType !== undefined && REQUEST_TYPES.has(messageType);
    if (CONNECTION_CODES.has(code) || isRequest) return;
    this.#total++;
    if (!isHeard && !this.#hasWarned) this.#unheard.set(code, (this.#unheard.get(code) ?? 0) + 1);
  }

  /** Warns if there are rejections that nothing has listened for. Called when all errors of one read are recorded. */
  warn(): void {
    if (this.#unheard.size === 0) return;
    this.#hasWarned = true;
    const codes = [...this.#unheard].map(([code, count]) => `${code} (${count})`).join(', ');
    this.#unheard.clear();
    process.emitWarning(`The broker rejected messages: ${codes}`, {
      type: 'SluiceWarning',
      code: 'SLUICE_REJECTED',
      detail:
        "Listen for the client's 'rejected' event to get the reason for each; statistics.rejected counts them. This warning appears once per client.",
    });
  }
}
