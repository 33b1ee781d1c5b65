// Determines the health of connections from their last activity. Reads a few numbers of each connection and holds no
// socket, so it can be tested with a fake clock and plain objects. Uses monotonic time only, so changes of the wall
// clock have no effect.

import type { PeerRole } from '../messages/messages.js';
import type { DeliveryState } from './connection-state.js';

/**
 * From worst to best. `unhealthy`: dead, and about to be closed. `dropping`, `slow`: does not keep up with the messages
 * sent to it; see {@link DeliveryState}. `degraded`: another warning. `unknown`: a crawler that has sent nothing yet.
 */
export type HealthStatus = 'unhealthy' | 'dropping' | 'slow' | 'degraded' | 'unknown' | 'healthy';
/** All states, from worst to best. */
export const HEALTH_STATES: readonly HealthStatus[] = [
  'unhealthy',
  'dropping',
  'slow',
  'degraded',
  'unknown',
  'healthy',
];

export type IssueSeverity = 'info' | 'warning' | 'critical';

export interface HealthIssue {
  readonly connectionId: string;
  readonly kind:
    | 'heartbeat_missed'
    | 'inactivity'
    | 'error_rate'
    | 'latency'
    | 'slow_consumer'
    | 'messages_dropped';
  readonly severity: IssueSeverity;
  /**
   * The measured value: ms, a share from 0 to 1 for `error_rate`, pending bytes for `slow_consumer`, messages dropped so
   * far for `messages_dropped`.
   */
  readonly value: number;
  /** The issue is raised above this value. In the same unit. */
  readonly limit: number;
}

/** A monitored connection. */
export interface HealthSubject {
  readonly id: string;
  readonly role: PeerRole;
  readonly isOpen: boolean;
  /** Whether the broker has paused reading, so that silence is not held against the connection. */
  readonly isPausedByBroker: boolean;
  /** Monotonic times in ms. */
  readonly lastActivityAt: number;
  readonly lastHeartbeatAt: number | undefined;
  /** ms from receipt to settlement of the connection's latest messages. */
  readonly latency: number;
  /** Whether it keeps up with the messages sent to it. Default: `current`. */
  readonly deliveryState?: DeliveryState;
  readonly statistics: {
    readonly messagesReceived: number;
    readonly messagesRejected: number;
    /** Default: 0. */
    readonly controlReceived?: number;
    readonly messagesDropped?: number;
    readonly pendingBytes?: number;
  };
}

export interface HealthOptions {
  readonly heartbeatInterval: number;
  readonly heartbeatTimeout: number;
  /** ms of silence after which a connection without a subscription is considered dead; 0 disables the check. */
  readonly connectionTimeout: number;
  readonly healthCheckInterval: number;
}

export interface HealthSummary {
  readonly status: HealthStatus;
  readonly connections: Readonly<Record<HealthStatus, number>>;
  readonly issues: readonly HealthIssue[];
  /** Connections found dead since the start. */
  readonly dead: number;
  /** Delay of the latest check in ms: how long the event loop was blocked. */
  readonly delay: number;
}

export interface HealthHost<S extends HealthSubject> {
  subjects(): Iterable<S>;
  /** Whether the connection may be silent because it only receives. */
  mayBeSilent(subject: S): boolean;
  onIdle(subject: S): void;
  onDead(subject: S, issue: HealthIssue): void;
}

/** Missed heartbeats in a row that raise a warning. */
const MISSED_HEARTBEATS = 2;
/**
 * Share of rejected messages above which a warning is raised, and the smallest number of messages to compute it from.
 */
const ERROR_RATE_LIMIT = 0.1;
const ERROR_RATE_SAMPLE = 20;
/** ms from receipt to settlement above which a warning is raised. */
const LATENCY_LIMIT = 1000;
const DELIVERY_ISSUES: ReadonlySet<HealthIssue['kind']> = new Set(['slow_consumer', 'messages_dropped']);

export class HealthMonitor<S extends HealthSubject> {
  readonly #options: HealthOptions;
  readonly #host: HealthHost<S>;
  readonly #now: () => number;
  readonly #listeners = new Set<(summary: HealthSummary) => void>();
  /** Counters of each connection at the previous check, to compute the error rate since then. */
  #counted = new Map<string, { received: number; rejected: number }>();
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #expectedAt = 0;
  #dead = 0;
  #summary: HealthSummary = emptySummary();

  /** @param now monotonic clock in ms. Default: `performance.now`. */
  constructor(options: HealthOptions, host: HealthHost<S>, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#host = host;
    this.#now = now;
  }

  /** Checks every `healthCheckInterval`. */
  start(): void {
    this.stop();
    this.#schedule();
  }

  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
  }

  /** Result of the latest check. */
  get summary(): HealthSummary {
    return this.#summary;
  }

  /**
   * Registers a callback for the result of each check.
   * @returns a function that ends the subscription
   */
  subscribe(callback: (summary: HealthSummary) => void): () => void {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  /**
   * Checks every connection now. Dead connections are counted and reported to the host.
   * @param delay ms by which the check runs late; this time does not count as silence of a peer
   */
  check(delay = 0): HealthSummary {
    const now = this.#now();
    const issues: HealthIssue[] = [];
    const connections = noConnections();
    const counted = new Map<string, { received: number; rejected: number }>();
    for (const subject of this.#host.subjects()) {
      if (!subject.isOpen) continue;
      const found = this.#inspect(subject, now - delay, counted);
      connections[statusOf(subject, found)]++;
      issues.push(...found);
    }
    this.#counted = counted;
    this.#summary = { status: overall(connections), connections, issues, dead: this.#dead, delay };
    for (const listener of this.#listeners) listener(this.#summary);
    return this.#summary;
  }

  #inspect(
    subject: S,
    now: number,
    counted: Map<string, { received: number; rejected: number }>,
  ): HealthIssue[] {
    const { id, lastHeartbeatAt, latency } = subject;
    const issues: HealthIssue[] = [];
    const raise = (kind: HealthIssue['kind'], severity: IssueSeverity, value: number, limit: number) => {
      issues.push({ connectionId: id, kind, severity, value, limit });
    };
    const rate = this.#errorRate(subject, counted);
    if (rate > ERROR_RATE_LIMIT) raise('error_rate', 'warning', rate, ERROR_RATE_LIMIT);
    if (latency > LATENCY_LIMIT) raise('latency', 'warning', latency, LATENCY_LIMIT);
    const { messagesDropped = 0, pendingBytes = 0 } = subject.statistics;
    if (subject.deliveryState === 'dropping') raise('messages_dropped', 'warning', messagesDropped, 0);
    else if (subject.deliveryState === 'slow') raise('slow_consumer', 'warning', pendingBytes, 0);
    if (subject.isPausedByBroker || this.#host.mayBeSilent(subject)) return issues;

    const silence = now - subject.lastActivityAt;
    const { heartbeatInterval, heartbeatTimeout, connectionTimeout } = this.#options;
    const missedLimit = heartbeatInterval * MISSED_HEARTBEATS;
    if (lastHeartbeatAt !== undefined) {
      if (silence > heartbeatTimeout) raise('heartbeat_missed', 'critical', silence, heartbeatTimeout);
      else if (now - lastHeartbeatAt > missedLimit) {
        raise('heartbeat_missed', 'warning', now - lastHeartbeatAt, missedLimit);
      }
    } else if (connectionTimeout > 0 && silence > connectionTimeout) {
      raise('inactivity', 'critical', silence, connectionTimeout);
    } else if (silence > heartbeatTimeout) {
      raise('inactivity', 'info', silence, heartbeatTimeout);
    }
    if (silence > missedLimit) this.#host.onIdle(subject);
    const fatal = issues.find(({ severity }) => severity === 'critical');
    if (fatal !== undefined) {
      this.#dead++;
      this.#host.onDead(subject, fatal);
    }
    return issues;
  }

  /** Share of rejected messages since the previous check; 0 if there were too few messages. */
  #errorRate({ id, statistics }: S, counted: Map<string, { received: number; rejected: number }>): number {
    const received = statistics.messagesReceived;
    const rejected = statistics.messagesRejected;
    const before = this.#counted.get(id) ?? { received: 0, rejected: 0 };
    counted.set(id, { received, rejected });
    const sample = received - before.received;
    return sample < ERROR_RATE_SAMPLE ? 0 : (rejected - before.rejected) / sample;
  }

  #schedule(): void {
    this.#expectedAt = this.#now() + this.#options.healthCheckInterval;
    this.#timer = setTimeout(() => {
      // The check runs after the poll phase, so bytes that arrived while the event loop was blocked are read first. The
      // loop may be blocked in that phase too, so the delay is measured here.
      this.#immediate = setImmediate(() => {
        this.check(Math.max(0, this.#now() - this.#expectedAt));
        if (this.#timer !== undefined) this.#schedule();
      });
    }, this.#options.healthCheckInterval);
    this.#timer.unref();
  }
}

/** The health of a connection, from the issues found by a check. */
export function statusOf(subject: HealthSubject, issues: readonly HealthIssue[]): HealthStatus {
  if (issues.some(({ severity }) => severity === 'critical')) return 'unhealthy';
  // The current state, which the issues of the latest check may not have.
  const { deliveryState = 'current' } = subject;
  if (deliveryState !== 'current') return deliveryState;
  if (issues.some(({ kind, severity }) => severity === 'warning' && !DELIVERY_ISSUES.has(kind)))
    return 'degraded';
  const { messagesReceived, controlReceived = 0 } = subject.statistics;
  const hasSent = messagesReceived > 0 || controlReceived > 0;
  return hasSent || subject.role !== 'crawler' ? 'healthy' : 'unknown';
}

function overall(connections: Readonly<Record<HealthStatus, number>>): HealthStatus {
  const { unhealthy, dropping, slow, degraded, healthy } = connections;
  if (unhealthy > 0) return 'unhealthy';
  if (dropping + slow + degraded > 0) return 'degraded';
  return healthy > 0 ? 'healthy' : 'unknown';
}

function emptySummary(): HealthSummary {
  return { status: 'unknown', connections: noConnections(), issues: [], dead: 0, delay: 0 };
}

function noConnections(): Record<HealthStatus, number> {
  return { unhealthy: 0, dropping: 0, slow: 0, degraded: 0, unknown: 0, healthy: 0 };
}
