// A rejected message, as reported to subscribers of `rejected` and to code in this process.

import type { Piece } from '../delivery/outbox.js';
import type { WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import { REJECTED } from '../messages/type-patterns.js';
import { delimited } from './outgoing.js';
import type { Peer } from './peer.js';
import { redactedSample } from './redaction.js';

/**
 * A rejected message, without its content.
 * @typeParam P the connections
 */
export interface RejectionDetails<P> {
  readonly connection: P;
  readonly code: WireErrorCode;
  /** Name of the message's type, if it is known. */
  readonly messageType: string | undefined;
  readonly issues: readonly Issue[];
  /**
   * Where the message stops being JSON or UTF-8, in bytes from its start; the message's size if it ends too early. Only
   * with `INVALID_JSON` and `INVALID_UTF8`.
   */
  readonly offset: number | undefined;
  /** Size of the message, in bytes. */
  readonly bytes: number;
  /** Line number in the connection's stream, from 1. */
  readonly line: number;
  /** Rejected messages of the connection before this one that exceeded the limit per second and were only counted. */
  readonly suppressed: number;
  /** Whether the message was forwarded anyway, because of `validation: "report"`. */
  readonly isForwarded: boolean;
}

/** @typeParam P the connections */
export class RejectedMessage<P> implements RejectionDetails<P> {
  readonly connection: P;
  readonly code: WireErrorCode;
  readonly messageType: string | undefined;
  readonly issues: readonly Issue[];
  readonly offset: number | undefined;
  readonly bytes: number;
  readonly line: number;
  readonly suppressed: number;
  readonly isForwarded: boolean;
  readonly #beginning: Buffer;
  #sample: string | undefined;

  /** @internal @param beginning the first bytes of the message; must not be changed afterwards */
  constructor(details: RejectionDetails<P>, beginning: Buffer) {
    this.connection = details.connection;
    this.code = details.code;
    this.messageType = details.messageType;
    this.issues = details.issues;
    this.offset = details.offset;
    this.bytes = details.bytes;
    this.line = details.line;
    this.suppressed = details.suppressed;
    this.isForwarded = details.isForwarded;
    this.#beginning = beginning;
  }

  /** The first 256 bytes, with anything that looks like a secret masked. Created on first access. */
  get sample(): string {
    this.#sample ??= redactedSample(this.#beginning);
    return this.#sample;
  }
}

/** Maximum number of rejected messages reported individually, per connection and second. The others are counted. */
export const MAX_DETAILED_REJECTIONS = 1000;
/** The same of all connections together: a report takes up to 80 µs, measured, most of it for the sample. */
export const MAX_DETAILED_TOTAL = 2000;

/** The message that subscribers of `rejected` receive. */
export function rejectionPiece(rejection: RejectedMessage<Peer>, delimiter: number): Piece {
  const { connection, code, issues, offset, bytes, sample, suppressed, isForwarded } = rejection;
  const more = { ...(suppressed > 0 && { suppressed }), ...(isForwarded && { forwarded: true }) };
  const place = offset === undefined ? {} : { offset };
  const data = { from: connection.id, code, issues, ...place, bytes, sample, ...more };
  const text = JSON.stringify({ type: REJECTED, timestamp: new Date().toISOString(), data });
  return { bytes: delimited(text, delimiter), slab: undefined, messages: 1 };
}
