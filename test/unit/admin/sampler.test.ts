import { expect, onTestFinished, test, vi } from 'vitest';
import { Sampler } from '#src/admin/sampler.js';
import { adminSourceOf } from '../../support/admin.js';
import { startPlainBroker } from '../../support/broker.js';

/** Keeps the event loop from turning, so that its delay is seen when it turns again. */
async function stall(ms: number): Promise<void> {
  for (let round = 0; round < 3; round++) {
    const until = performance.now() + ms;
    while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

test('the event loop is looked at only while somebody asks', async () => {
  const { manager } = await startPlainBroker();
  const sampler = new Sampler(adminSourceOf(manager));
  onTestFinished(() => sampler.stop());
  await stall(50);
  expect(sampler.sample()?.stats.eventLoopDelay).toBe(0);
  await stall(50);
  // A sample is kept for a while.
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 1000);
  onTestFinished(() => void vi.restoreAllMocks());
  expect(sampler.sample()?.stats.eventLoopDelay).toBeGreaterThan(30);
});

test.each([12_000, 60_000])(
  'rates cover the time since the previous sample, %d ms before',
  async (interval) => {
    const { manager } = await startPlainBroker();
    const metrics = manager.getMetrics();
    let heartbeats = 100;
    const source = adminSourceOf(manager, {
      metrics: () =>
        metrics && {
          ...metrics,
          totals: { ...metrics.totals, messagesReceived: heartbeats },
          protocol: { ...metrics.protocol, accepted: { heartbeat: heartbeats } },
        },
    });
    const sampler = new Sampler(source);
    onTestFinished(() => sampler.stop());
    let now = performance.now();
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    onTestFinished(() => void vi.restoreAllMocks());
    expect(sampler.sample()?.stats).toMatchObject({ interval: 0, rates: { byType: {} } });
    for (let round = 0; round < 3; round++) {
      now += interval;
      heartbeats += (20 * interval) / 1000;
      const stats = sampler.sample()?.stats;
      expect(stats?.interval).toBeCloseTo(interval);
      expect(stats?.rates.messagesReceived).toBeCloseTo(20);
      expect(stats?.rates.byType.heartbeat).toBeCloseTo(20);
    }
    // Too long ago to say anything about the present.
    now += 91_000;
    expect(sampler.sample()?.stats).toMatchObject({ interval: 0, rates: { byType: {} } });
  },
);
