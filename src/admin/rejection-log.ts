// The latest rejected messages, for debugging crawlers: codes, paths and sizes, never message content.

import type { Issue } from '../messages/issues.js';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejected-message.js';

/** A rejected message. */
export interface RejectionRecord {
  /** ms since 1970. */
  readonly at: number;
  readonly connectionId: string;
  readonly crawlerId: string | null;
  readonly code: string;
  readonly messageType: string | null;
  /** Line number in the connection's stream, from 1. */
  readonly line: number;
  readonly bytes: number;
  /** Where the message stops being JSON or UTF-8, in bytes from its start. */
  readonly offset: number | null;
  /** Paths and codes of the issues. Paths contain only keys that schemas name, and `*` for others. */
  readonly issues: readonly Pick<Issue, 'path' | 'code'>[];
}

/** Maximum number of records. */
const CAPACITY = 50;
/** Maximum number of issues in a record. */
const MAX_ISSUES = 5;

export class RejectionLog {
  readonly #records: RejectionRecord[] = [];
  /** Index of the next record to write; the oldest one once the log is full. */
  #next = 0;

  /** The newest first. */
  get latest(): readonly RejectionRecord[] {
    return [...this.#records.slice(this.#next), ...this.#records.slice(0, this.#next)].reverse();
  }

  add({ connection, code, messageType, line, bytes, offset, issues }: RejectedMessage<Peer>): void {
    this.#records[this.#next] = {
      at: Date.now(),
      connectionId: connection.id,
      crawlerId: connection.crawlerId ?? null,
      code,
      messageType: messageType ?? null,
      line,
      bytes,
      offset: offset ?? null,
      issues: issues.slice(0, MAX_ISSUES).map(({ path, code: issueCode }) => ({ path, code: issueCode })),
    };
    this.#next = (this.#next + 1) % CAPACITY;
  }
}
