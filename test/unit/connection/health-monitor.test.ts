import { type HealthIssue, HealthMonitor, type HealthSubject } from 'sluice';
import { beforeEach, describe, expect, test, vi } from 'vitest';

interface Fake extends HealthSubject {
  lastActivityAt: number;
  lastHeartbeatAt: number | undefined;
  isPausedByBroker: boolean;
  latency: number;
  statistics: { messagesReceived: number; messagesRejected: number };
}

const options = {
  heartbeatInterval: 5000,
  heartbeatTimeout: 30_000,
  connectionTimeout: 300_000,
  healthCheckInterval: 5000,
};

let now = 0;
let subjects: Fake[] = [];
let dead: HealthIssue[] = [];
let idle: string[] = [];
let silent = new Set<string>();

function createMonitor(overrides: Partial<typeof options> = {}): HealthMonitor<Fake> {
  const host = {
    subjects: () => subjects,
    mayBeSilent: ({ id }: Fake) => silent.has(id),
    onIdle: ({ id }: Fake) => idle.push(id),
    onDead: (_: Fake, issue: HealthIssue) => dead.push(issue),
  };
  return new HealthMonitor({ ...options, ...overrides }, host, () => now);
}

function crawler(id: string, lastHeartbeatAt?: number): Fake {
  const fake: Fake = {
    id,
    role: 'crawler',
    isOpen: true,
    isPausedByBroker: false,
    lastActivityAt: 0,
    lastHeartbeatAt,
    latency: 0,
    statistics: { messagesReceived: 1, messagesRejected: 0 },
  };
  subjects.push(fake);
  return fake;
}

beforeEach(() => {
  now = 0;
  subjects = [];
  dead = [];
  idle = [];
  silent = new Set();
});

describe('silence', () => {
  test('a crawler that heartbeats in time is healthy', () => {
    crawler('a', 0);
    now = 9000;
    expect(createMonitor().check()).toMatchObject({
      status: 'healthy',
      issues: [],
      connections: { healthy: 1 },
    });
  });

  test('two missed heartbeats are a warning', () => {
    crawler('a', 0).lastActivityAt = 10_000;
    now = 10_001;
    const { status, issues } = createMonitor().check();
    expect(status).toBe('degraded');
    expect(issues).toMatchObject([
      { connectionId: 'a', kind: 'heartbeat_missed', severity: 'warning', value: 10_001 },
    ]);
    expect(dead).toEqual([]);
  });

  test('silence over heartbeatTimeout is death, reported and counted', () => {
    crawler('a', 0);
    now = 30_000;
    const monitor = createMonitor();
    expect(monitor.check().dead).toBe(0);
    now = 30_001;
    monitor.check();
    expect(dead).toMatchObject([{ kind: 'heartbeat_missed', severity: 'critical' }]);
    expect(monitor.check().status).toBe('unhealthy');
  });

  test('a crawler that never sent a heartbeat has until connectionTimeout', () => {
    crawler('a');
    const monitor = createMonitor();
    now = 300_000;
    expect(monitor.check().issues).toMatchObject([{ kind: 'inactivity', severity: 'info' }]);
    now = 300_001;
    monitor.check();
    expect(dead).toMatchObject([{ kind: 'inactivity' }]);
  });

  test('connectionTimeout 0 is never', () => {
    crawler('a');
    now = 1e9;
    createMonitor({ connectionTimeout: 0 }).check();
    expect(dead).toEqual([]);
  });

  test('who only listens, and who is not read from, may be silent', () => {
    crawler('a', 0).isPausedByBroker = true;
    crawler('b', 0);
    silent.add('b');
    now = 1e9;
    expect(createMonitor().check().issues).toEqual([]);
  });

  test('a quiet connection becomes idle', () => {
    crawler('a', 0);
    now = 10_001;
    createMonitor().check();
    expect(idle).toEqual(['a']);
  });

  test('the time that the event loop stood still is not held against a peer', () => {
    crawler('a', 0);
    now = 33_000;
    createMonitor().check(5000);
    expect(dead).toEqual([]);
  });
});

describe('error rate and latency', () => {
  test('more than a tenth rejected since the check before is a warning', () => {
    const a = crawler('a', 0);
    const monitor = createMonitor();
    a.statistics = { messagesReceived: 100, messagesRejected: 11 };
    expect(monitor.check().issues).toMatchObject([{ kind: 'error_rate', severity: 'warning', value: 0.11 }]);
    a.statistics = { messagesReceived: 200, messagesRejected: 11 };
    expect(monitor.check().issues).toEqual([]);
  });

  test('a few messages prove nothing', () => {
    crawler('a', 0).statistics = { messagesReceived: 19, messagesRejected: 19 };
    expect(createMonitor().check().issues).toEqual([]);
  });

  test('messages that wait over a second are a warning', () => {
    crawler('a', 0).latency = 1001;
    expect(createMonitor().check().issues).toMatchObject([{ kind: 'latency', value: 1001, limit: 1000 }]);
  });
});

describe('the whole', () => {
  test('is unknown while no peer has sent anything', () => {
    expect(createMonitor().check().status).toBe('unknown');
    crawler('a').statistics = { messagesReceived: 0, messagesRejected: 0 };
    expect(createMonitor().check().status).toBe('unknown');
  });

  test('is as bad as its worst connection', () => {
    crawler('a', 0);
    crawler('b', 0).latency = 5000;
    expect(createMonitor().check()).toMatchObject({
      status: 'degraded',
      connections: { healthy: 1, degraded: 1 },
    });
  });

  test('subscribers hear of each check until they leave', () => {
    const monitor = createMonitor();
    const heard = vi.fn();
    const leave = monitor.subscribe(heard);
    monitor.check();
    leave();
    monitor.check();
    expect(heard).toHaveBeenCalledOnce();
    expect(heard).toHaveBeenCalledWith(expect.objectContaining({ status: 'unknown' }));
  });

  test('checks by itself, and reports its delay', async () => {
    vi.useFakeTimers();
    try {
      const monitor = createMonitor();
      const delays: number[] = [];
      monitor.subscribe(({ delay }) => delays.push(delay));
      monitor.start();
      now = 5000;
      await vi.advanceTimersByTimeAsync(5001);
      now = 12_000;
      await vi.advanceTimersByTimeAsync(5001);
      monitor.stop();
      await vi.advanceTimersByTimeAsync(20_000);
      expect(delays).toEqual([0, 2000]);
    } finally {
      vi.useRealTimers();
    }
  });

  test('time that goes by between its timer and its check is lateness too', async () => {
    vi.useFakeTimers();
    try {
      crawler('a', 0);
      const monitor = createMonitor();
      const delays: number[] = [];
      monitor.subscribe(({ delay }) => delays.push(delay));
      monitor.start();
      now = 5000;
      // Runs after the monitor's timer and before its check: where the loop polls.
      setTimeout(() => {
        now = 33_000;
      }, 5000);
      await vi.advanceTimersByTimeAsync(5001);
      monitor.stop();
      expect(delays).toEqual([28_000]);
      expect(dead).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  test('a wall clock that jumps changes nothing', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    try {
      crawler('a', 0);
      const monitor = createMonitor();
      for (const jump of [3_600_000, -7_200_000]) {
        vi.setSystemTime(Date.now() + jump);
        expect(monitor.check().issues).toEqual([]);
      }
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('delivery', () => {
  test.each([
    ['dropping', 'messages_dropped', 25_000],
    ['slow', 'slow_consumer', 1e6],
  ] as const)('a %s peer is not healthy', (deliveryState, kind, value) => {
    const fake = crawler('a', 0);
    Object.assign(fake, { deliveryState });
    Object.assign(fake.statistics, { messagesDropped: 25_000, pendingBytes: 1e6 });
    const summary = createMonitor().check();
    expect(summary).toMatchObject({ status: 'degraded', connections: { [deliveryState]: 1, healthy: 0 } });
    expect(summary.issues).toEqual([{ connectionId: 'a', kind, severity: 'warning', value, limit: 0 }]);
    Object.assign(fake, { deliveryState: 'current' });
    expect(createMonitor().check()).toMatchObject({ status: 'healthy', issues: [] });
  });

  test('a crawler that only sends control messages is known', () => {
    Object.assign(crawler('a').statistics, { messagesReceived: 0, controlReceived: 1 });
    expect(createMonitor().check().connections).toMatchObject({ unknown: 0, healthy: 1 });
  });
});
