// The latest rejected messages, for a person who wonders what a crawler does wrong: codes, paths and sizes. Keeps
// nothing of the messages themselves.

import type { Issue } from '../messages/issues.js';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejection.js';

/** A rejected message. */
export interface RejectionRecord {
  /** ms since 1970. */
  readonly at: number;
  readonly connectionId: string;
  readonly crawlerId: string | undefined;
  readonly code: string;
  readonly messageType: string | undefined;
  /** Line of the connection's stream, counted from 1. */
  readonly line: number;
  readonly bytes: number;
  /** What is wrong where; paths have keys that schemas name, and `*` for others. */
  readonly issues: readonly Pick<Issue, 'path' | 'code'>[];
}

/** How many are kept. */
const CAPACITY = 50;
/** And how many issues of each. */
const MAX_ISSUES = 5;

export class RejectionLog {
  readonly #records: RejectionRecord[] = [];
  /** Where the next one goes, when all places are taken. */
  #next = 0;

  /** The newest first. */
  get latest(): readonly RejectionRecord[] {
    return [...this.#records.slice(this.#next), ...this.#records.slice(0, this.#next)].reverse();
  }

  add({ connection, code, messageType, line, bytes, issues }: RejectedMessage<Peer>): void {
    this.#records[this.#next] = {
      at: Date.now(),
      connectionId: connection.id,
      crawlerId: connection.crawlerId,
      code,
      messageType,
      line,
      bytes,
      issues: issues.slice(0, MAX_ISSUES).map(({ path, code: issueCode }) => ({ path, code: issueCode })),
    };
    this.#next = (this.#next + 1) % CAPACITY;
  }
}
