// The server as one of its connections sees it: one interface, so that neither imports the other.

import type { CopiedBytes } from '../delivery/outbox.js';
import type { Chunk } from '../dispatch/lane.js';
import type { FrameRange, SlabPool } from '../memory/slab-pool.js';
import type { MessageValidator } from '../protocol/message-validator.js';
import type { ConnectionOptions, DropCause } from './connection-state.js';

/**
 * What a connection needs of its server.
 * @typeParam C the connection
 */
export interface ConnectionContext<C> {
  readonly slabs: SlabPool;
  readonly validator: MessageValidator;
  readonly delimiter: string;
  readonly copied: CopiedBytes;
  readonly options: ConnectionOptions;
  /** Whether the peer has said the token that it needs, or needs none. */
  isAuthenticated(connection: C): boolean;
  /** Whole messages have come in. */
  onFrames(connection: C, range: FrameRange): void;
  /** Messages of the connection are validated, in order. */
  onSettled(connection: C, chunk: Chunk): void;
  /** How many bytes of a message are here whose end has not come. */
  onPartial(connection: C, bytes: number): void;
  /** A message has grown over maxMessageSize. */
  onOversize(connection: C): void;
  /** The `block` subscriber fell behind, or has caught up. */
  onBlocked(connection: C, isBlocked: boolean): void;
  /** Something waits to be written to the peer at the end of this turn. */
  onQueued(connection: C): void;
  /** A peer has taken bytes. */
  onWritten(bytes: number, messages: number): void;
  /** Forwarded messages were not delivered. */
  onDropped(messages: number, cause: DropCause): void;
  /** The peer's overflow policy has dropped messages. */
  onOverflow(connection: C): void;
  /** A listener of code in this process threw. */
  onListenerError(error: unknown): void;
  /** The connection takes no more messages; its last ones may still be on their way out. */
  onClosing(connection: C): void;
  /** Code in this process gave the crawler a job. */
  onAssigned(connection: C, jobId: string): void;
  onClosed(connection: C, reason: string): void;
}
