// A refused message, for those who want to know of each: subscribers of `rejected`, and code in this process.

import type { SocketConnection } from '../connection/socket-connection.js';
import type { Piece } from '../delivery/outbox.js';
import type { WireErrorCode } from '../errors.js';
import { REJECTED } from '../routing/filter.js';
import type { Issue } from './issue.js';

/** A refused message, without its contents. */
export interface Rejection {
  readonly connection: SocketConnection;
  readonly code: WireErrorCode;
  /** Name of the message's type where it is known. */
  readonly messageType: string | undefined;
  readonly issues: readonly Issue[];
  /** Size of the message. */
  readonly bytes: number;
  /** Line of the connection's stream, counted from 1. */
  readonly line: number;
  /** The first 256 bytes, with what looks like a secret blanked. */
  readonly sample: string;
}

/** What subscribers of `rejected` get. */
export function rejectionPiece(
  { connection, code, issues, bytes, sample }: Rejection,
  delimiter: string,
): Piece {
  const data = { from: connection.id, code, issues, bytes, sample };
  const text = JSON.stringify({ type: REJECTED, timestamp: new Date().toISOString(), data });
  return { bytes: Buffer.from(text + delimiter), slab: undefined, messages: 1 };
}
