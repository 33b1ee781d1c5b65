// The statistics of the protocol handler.

import type { WorkGroupStatistics } from './work-group.js';

export interface ProtocolStatistics {
  /** Application messages accepted, and all messages rejected, each counted once. */
  readonly received: number;
  /**
   * Valid application messages (of crawlers and applications), by type. Those then rejected with UNAUTHORIZED or
   * RATE_LIMITED are also counted as rejected.
   */
  readonly accepted: Readonly<Record<string, number>>;
  /** Valid control messages (those for the broker itself, such as `hello` and `ping`), by type. */
  readonly control: Readonly<Record<string, number>>;
  /** Messages that a pattern accepted without parsing. */
  readonly matched: number;
  /** With `patterns: 'verify'`: messages that a pattern accepted and for which the slow path had a different result. */
  readonly mismatched: number;
  /** Message layouts for which workers have learned patterns. */
  readonly layoutsLearned: number;
  /** Learned layouts that were evicted because they were not used. */
  readonly layoutsEvicted: number;
  /** Rejected messages, by error code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Messages that broke the contract and were forwarded anyway (`validation: "report"`), by error code. */
  readonly reported: Readonly<Record<string, number>>;
  /** Application messages that no crawler could receive. */
  readonly undeliverable: number;
  /** Heartbeats that were not forwarded, because they followed sooner than `minHeartbeatInterval`. */
  readonly heartbeatsDropped: number;
  readonly errorReplies: number;
  /** Errors without a reply, because `maxErrorReplies` was reached. */
  readonly errorsUnanswered: number;
  readonly subscriptions: number;
  /** At most 256 work groups; without members, too. */
  readonly workGroups: readonly WorkGroupStatistics[];
  readonly jobOwners: number;
}
