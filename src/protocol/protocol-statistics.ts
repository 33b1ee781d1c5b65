// The figures of the protocol handler.

export interface ProtocolStatistics {
  /** Messages accepted or rejected, each counted once. */
  readonly received: number;
  /** Messages found valid, by type; those that are then UNAUTHORIZED or RATE_LIMITED count as rejected too. */
  readonly accepted: Readonly<Record<string, number>>;
  /** Messages that a pattern has accepted without parsing them. */
  readonly matched: number;
  /** Messages that a pattern accepted and the slow path judged otherwise, with `patterns: 'verify'`. */
  readonly mismatched: number;
  /** Layouts of messages that workers have learned patterns for, and those that they dropped as unused. */
  readonly layoutsLearned: number;
  readonly layoutsDropped: number;
  /** Messages rejected, by error code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Application messages that nobody could take. */
  readonly undeliverable: number;
  /** Heartbeats that came faster than `minHeartbeatInterval`. */
  readonly heartbeatsDropped: number;
  readonly errorReplies: number;
  /** Errors that were counted only, for `maxErrorReplies`. */
  readonly errorsUnanswered: number;
  readonly subscriptions: number;
  readonly jobOwners: number;
}
