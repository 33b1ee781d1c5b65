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
