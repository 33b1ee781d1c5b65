// A rejected message, for those who want to know of each: subscribers of `rejected`, and code in this process.

import type { Piece } from '../delivery/outbox.js';
import type { WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import { REJECTED } from '../messages/type-patterns.js';
import { delimited } from './outgoing.js';
import type { Peer } from './peer.js';
import { redactedSample } from './redaction.js';

/**
 * A rejected message, without its contents.
 * @typeParam P the connections
 */
export interface RejectionDetails<P extends Peer> {
  readonly connection: P;
  readonly code: WireErrorCode;
  /** Name of the message's type where it is known. */
  readonly messageType: string | undefined;
  readonly issues: readonly Issue[];
  /** Size of the message. */
  readonly bytes: number;
  /** Line of the connection's stream, counted from 1. */
  readonly line: number;
  /** Rejected messages of the connection before this one that were only counted: over the limit of a second. */
  readonly suppressed: number;
}

/** @typeParam P the connections */
export class RejectedMessage<P extends Peer> implements RejectionDetails<P> {
  readonly connection: P;
  readonly code: WireErrorCode;
  readonly messageType: string | undefined;
  readonly issues: readonly Issue[];
  readonly bytes: number;
  readonly line: number;
  readonly suppressed: number;
  readonly #beginning: Buffer;
  #sample: string | undefined;

  /** @internal @param beginning the first bytes of the message, which nobody changes */
  constructor(details: RejectionDetails<P>, beginning: Buffer) {
    this.connection = details.connection;
    this.code = details.code;
    this.messageType = details.messageType;
    this.issues = details.issues;
    this.bytes = details.bytes;
    this.line = details.line;
    this.suppressed = details.suppressed;
    this.#beginning = beginning;
  }

  /** The first 256 bytes, with what looks like a secret blanked. Made when it is first read. */
  get sample(): string {
    this.#sample ??= redactedSample(this.#beginning);
    return this.#sample;
  }
}

/** Rejected messages of one connection and second of which subscribers of `rejected` are told each. */
export const MAX_DETAILED_REJECTIONS = 1000;

/** What subscribers of `rejected` get. */
export function rejectionPiece(rejection: RejectedMessage<Peer>, delimiter: number): Piece {
  const { connection, code, issues, bytes, sample, suppressed } = rejection;
  const more = suppressed === 0 ? {} : { suppressed };
  const data = { from: connection.id, code, issues, bytes, sample, ...more };
  const text = JSON.stringify({ type: REJECTED, timestamp: new Date().toISOString(), data });
  return { bytes: delimited(text, delimiter), slab: undefined, messages: 1 };
}
