// Who is well and who is dead, by what was last heard. Reads a few numbers of each connection and
// keeps no socket, so a fake clock and plain objects can test it. Monotonic time only: a wall clock
// that jumps changes nothing.

import type { PeerRole } from '../messages/messages.js';

export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy' | 'unknown';
export type IssueSeverity = 'info' | 'warning' | 'critical';

export interface HealthIssue {
  readonly connectionId: string;
  readonly kind: 'heartbeat_missed' | 'inactivity' | 'error_rate' | 'latency';
  readonly severity: IssueSeverity;
  /** What was measured: ms, or a share of 0 to 1 for `error_rate`. */
  readonly value: number;
  /** Over which the issue is raised, in the same unit. */
  readonly limit: number;
}

/** What the monitor looks at: a connection. */
export interface HealthSubject {
  readonly id: string;
  readonly role: PeerRole;
  readonly isOpen: boolean;
  /** Reading stands still for backpressure: its silence means nothing. */
  readonly isPaused: boolean;
  /** Monotonic times in ms. */
  readonly lastActivityAt: number;
  readonly lastHeartbeatAt: number | undefined;
  /** ms from receipt to settlement of its latest messages. */
  readonly latency: number;
  readonly statistics: { readonly messagesReceived: number; readonly messagesRejected: number };
}

export interface HealthOptions {
  readonly heartbeatInterval: number;
  readonly heartbeatTimeout: number;
  /** ms of silence after which a connection with no subscription is dead; 0: never. */
  readonly connectionTimeout: number;
  readonly healthCheckInterval: number;
}

export interface HealthSummary {
  readonly status: HealthStatus;
  readonly connections: Readonly<Record<HealthStatus, number>>;
  readonly issues: readonly HealthIssue[];
  /** Connections found dead, since the start. */
  readonly dead: number;
  /** ms that the latest check ran late: how long the event loop stood still. */
  readonly delay: number;
}

export interface HealthHost<S extends HealthSubject> {
  subjects(): Iterable<S>;
  /** Whether the connection may be silent: it only listens. */
  mayBeSilent(subject: S): boolean;
  onIdle(subject: S): void;
  onDead(subject: S, issue: HealthIssue): void;
}

/** Missing this many heartbeats in a row is worth a warning. */
const MISSED_HEARTBEATS = 2;
/** Share of rejected messages from which a connection is in trouble, and from how many messages on it counts. */
const ERROR_RATE_LIMIT = 0.1;
const ERROR_RATE_SAMPLE = 20;
/** ms from receipt to settlement that is too long. */
const LATENCY_LIMIT = 1000;

export class HealthMonitor<S extends HealthSubject> {
  readonly #options: HealthOptions;
  readonly #host: HealthHost<S>;
  readonly #now: () => number;
  readonly #listeners = new Set<(summary: HealthSummary) => void>();
  /** Counters of each connection at the check before, for the rate since. */
  #counted = new Map<string, { received: number; rejected: number }>();
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #expectedAt = 0;
  #dead = 0;
  #summary: HealthSummary = emptySummary();

  /** @param now monotonic clock in ms; default `performance.now` */
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

  /** What the latest check found. */
  get summary(): HealthSummary {
    return this.#summary;
  }

  /**
   * Calls back after each check.
   * @returns a function that ends the subscription
   */
  subscribe(callback: (summary: HealthSummary) => void): () => void {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  /**
   * Looks at every connection now. Those found dead are told to the host and counted.
   * @param delay ms that the check runs late; no silence shorter than that is held against a peer
   */
  check(delay = 0): HealthSummary {
    const now = this.#now();
    const issues: HealthIssue[] = [];
    const connections = { healthy: 0, degraded: 0, unhealthy: 0, unknown: 0 };
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
    if (subject.isPaused || this.#host.mayBeSilent(subject)) return issues;

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

  /** Share of rejected messages since the check before; 0 when there were too few to tell. */
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
      // What arrived while the event loop stood still is read before the check, which runs after the poll. The
      // loop may stand still in that poll too: the delay counts up to here.
      this.#immediate = setImmediate(() => {
        this.check(Math.max(0, this.#now() - this.#expectedAt));
        if (this.#timer !== undefined) this.#schedule();
      });
    }, this.#options.healthCheckInterval);
    this.#timer.unref();
  }
}

/** How a connection is, by the issues that a check has found with it. */
export function statusOf(subject: HealthSubject, issues: readonly HealthIssue[]): HealthStatus {
  if (issues.some(({ severity }) => severity === 'critical')) return 'unhealthy';
  if (issues.some(({ severity }) => severity === 'warning')) return 'degraded';
  return subject.statistics.messagesReceived === 0 && subject.role === 'crawler' ? 'unknown' : 'healthy';
}

function overall(connections: Readonly<Record<HealthStatus, number>>): HealthStatus {
  if (connections.unhealthy > 0) return 'unhealthy';
  if (connections.degraded > 0) return 'degraded';
  return connections.healthy > 0 ? 'healthy' : 'unknown';
}

function emptySummary(): HealthSummary {
  const connections = { healthy: 0, degraded: 0, unhealthy: 0, unknown: 0 };
  return { status: 'unknown', connections, issues: [], dead: 0, delay: 0 };
}
