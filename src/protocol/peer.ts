// What the protocol needs of a connection.

import type { Piece } from '../delivery/outbox.js';
import type { Lane } from '../dispatch/lane.js';
import type { OverflowPolicy, PeerRole } from '../messages/messages.js';

export interface Peer {
  readonly id: string;
  readonly lane: Lane;
  readonly outbox: { policy: OverflowPolicy };
  /** Whether messages can still be sent to the peer. */
  readonly isOpen: boolean;
  /** Whether the peer has presented the token that it needs, or needs none. Others are sent no messages. */
  readonly isAuthenticated: boolean;
  /** Line of the stream that is being settled, counted from 0. */
  line: number;
  /** Accepted messages so far. */
  sequence: number;
  /** Jobs the crawler works on: by its last heartbeat, and what it was assigned since. */
  workload: number;
  /** Monotonic time of the last heartbeat, in ms. */
  lastHeartbeatAt: number | undefined;
  crawlerId: string | undefined;
  role: PeerRole;
  /** Whether a `hello` of the peer was accepted. */
  isHelloAccepted: boolean;
  /** Whether the peer has sent a `ping`. */
  hasPinged: boolean;
  /** Protocol version of its `hello`. */
  version: string | undefined;
  capabilities: readonly string[];
  setState(to: 'authenticated'): void;
  /** The peer has sent something valid. */
  markActive(): void;
  recordError(code: string, count?: number): void;
  recordRejected(code: string, count?: number): void;
  /** Queues a message of the broker's own. */
  reply(line: Buffer): void;
  /** Queues forwarded messages. */
  deliver(piece: Piece): void;
  disconnect(reason: string): Promise<void>;
}
