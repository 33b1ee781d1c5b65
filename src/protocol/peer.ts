// The parts of a connection that the protocol uses.

import type { Piece } from '../delivery/outbox.js';
import type { Lane } from '../dispatch/lane.js';
import type { SenderSession } from '../log/message-log.js';
import type { OverflowPolicy, PeerRole } from '../messages/messages.js';
import type { CrawlerIdentity } from '../routing/job-owners.js';

/** The session of a peer: its messages that are decided, over several connections. */
export interface PeerSession extends SenderSession {
  /** Number of decided messages (stored or rejected), without control messages. On the wire: `line`. */
  readonly decided: number;
  /**
   * Whether messages were not stored, or not counted. Its client sends them again, and what came after them: the next
   * connection goes on after the last one that is stored.
   */
  isInterrupted: boolean;
  /** Counts the messages of a run. @param firstSequence of those that will be accepted */
  countRun(firstSequence: number, count: number): void;
}

/** A connection, as far as the protocol is concerned: in applications, always a `SocketConnection`. */
export interface Peer {
  readonly id: string;
  /** @internal */
  readonly lane: Lane;
  /** @internal */
  readonly outbox: {
    policy: OverflowPolicy;
    readonly pendingBytes: number;
    readonly maxPendingBytes: number;
    /** Number of messages from the durable log that were queued so far. */
    readonly storedMessages: number;
    /** Queues forwarded messages that the peer has requested. */
    answer(bytes: Buffer, messages: number): void;
    reply(line: Buffer, done: (error?: Error) => void): void;
    deliverStored(piece: Piece): void;
    whenBelow(bytes: number): Promise<void>;
  };
  /** Whether messages can still be sent to the peer. */
  readonly isOpen: boolean;
  /** Whether the peer has presented a valid token, or needs none. Only authenticated peers are sent messages. */
  readonly isAuthenticated: boolean;
  /** @internal Number of lines in the settled part of the stream. */
  line: number;
  /** @internal Number of messages accepted so far, including control messages. */
  sequence: number;
  /** @internal Number of control messages accepted so far. */
  controlReceived: number;
  /** @internal Number of messages rejected so far. */
  readonly messagesRejected: number;
  /** @internal Number of its messages that had no recipient so far. */
  undeliverable: number;
  /** @internal Active jobs of the crawler: as of its last heartbeat, plus those assigned since. */
  workload: number;
  /** @internal Monotonic time of the last heartbeat, in ms. */
  lastHeartbeatAt: number | undefined;
  /** @internal */
  readonly identity: CrawlerIdentity;
  readonly crawlerId: string | undefined;
  /** @internal */
  role: PeerRole;
  /** @internal Whether it has shown that it is a crawler: by a `hello`, or by a valid crawler message. */
  isIdentified: boolean;
  /** @internal Whether the peer's `hello` was accepted. */
  isHelloAccepted: boolean;
  /** @internal Whether the peer has sent a `ping`. */
  hasPinged: boolean;
  /** @internal Offset in the durable log after its latest message; 0 if none is stored. */
  loggedEnd: number;
  /** @internal Its session, if it has one and there is a durable log. */
  session: PeerSession | undefined;
  /** @internal Number of its subscriptions to the durable log. */
  logSubscriptions: number;
  /** @internal Number of its pings that are not answered yet, since its messages are not durable. */
  withheldPongs: number;
  /** @internal Protocol version of its `hello`. */
  version: string | undefined;
  /** @internal Name of the program, from its `hello`. */
  name: string | undefined;
  /** @internal */
  capabilities: readonly string[];
  /** @internal */
  setState(to: 'authenticated'): void;
  /** @internal Records that the peer has sent a valid message. */
  markActive(): void;
  /** @internal */
  recordError(code: string, count?: number): void;
  /** @internal */
  recordRejected(code: string, count?: number): void;
  /** @internal Queues a message of the broker itself. */
  reply(line: Buffer): void;
  /** @internal Writes queued bytes to the socket. */
  flush(): void;
  /** @internal Whether `bytes` can be queued, after `ahead` other bytes, without the peer falling behind. */
  hasRoom(bytes: number, ahead: number): boolean;
  /** @internal Queues forwarded messages. */
  deliver(piece: Piece): void;
  /** @internal Stops reading for good. What was received is processed. */
  stopReading(): void;
  /** @internal */
  disconnect(reason: string): Promise<void>;
}
