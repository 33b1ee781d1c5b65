// The parts of a connection that the protocol uses.

import type { Piece } from '../delivery/outbox.js';
import type { Lane } from '../dispatch/lane.js';
import type { OverflowPolicy, PeerRole } from '../messages/messages.js';
import type { CrawlerIdentity } from '../routing/job-owners.js';

export interface Peer {
  readonly id: string;
  readonly lane: Lane;
  readonly outbox: { policy: OverflowPolicy };
  /** Whether messages can still be sent to the peer. */
  readonly isOpen: boolean;
  /** Whether the peer has presented a valid token, or needs none. Only authenticated peers are sent messages. */
  readonly isAuthenticated: boolean;
  /** Number of lines in the settled part of the stream. */
  line: number;
  /** Number of messages accepted so far, including control messages. */
  sequence: number;
  /** Number of control messages accepted so far. */
  controlReceived: number;
  /** Active jobs of the crawler: as of its last heartbeat, plus those assigned since. */
  workload: number;
  /** Monotonic time of the last heartbeat, in ms. */
  lastHeartbeatAt: number | undefined;
  readonly identity: CrawlerIdentity;
  readonly crawlerId: string | undefined;
  role: PeerRole;
  /** Whether it has shown that it is a crawler: by a `hello`, or by a valid crawler message. */
  isIdentified: boolean;
  /** Whether the peer's `hello` was accepted. */
  isHelloAccepted: boolean;
  /** Whether the peer has sent a `ping`. */
  hasPinged: boolean;
  /** Protocol version of its `hello`. */
  version: string | undefined;
  capabilities: readonly string[];
  setState(to: 'authenticated'): void;
  /** Records that the peer has sent a valid message. */
  markActive(): void;
  recordError(code: string, count?: number): void;
  recordRejected(code: string, count?: number): void;
  /** Queues a message of the broker itself. */
  reply(line: Buffer): void;
  /** Queues forwarded messages. */
  deliver(piece: Piece): void;
  disconnect(reason: string): Promise<void>;
}
