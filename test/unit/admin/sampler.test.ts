import { expect, onTestFinished, test } from 'vitest';
import { Sampler } from '#src/admin/sampler.js';
import { startBroker } from '../../support/broker.js';

/** Keeps the event loop from turning, so that its delay is seen when it turns again. */
async function stall(ms: number): Promise<void> {
  for (let round = 0; round < 3; round++) {
    const until = performance.now() + ms;
    while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

test('the event loop is looked at only while somebody asks', async () => {
  const { manager } = await startBroker();
  const sampler = new Sampler({
    options: manager.options,
    pool: manager.getConnectionPool(),
    status: () => manager.getStatus(),
    metrics: () => manager.getMetrics(),
    registry: () => undefined,
    drift: () => [],
  });
  onTestFinished(() => sampler.stop());
  await stall(150);
  expect(sampler.sample()?.stats.eventLoopDelay).toBe(0);
  await stall(150);
  expect(sampler.sample()?.stats.eventLoopDelay).toBeGreaterThan(100);
});
