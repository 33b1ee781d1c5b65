// When another worker starts.

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { WorkerDemand, type WorkerDemandOptions } from '#src/dispatch/worker-demand.js';

/** In ms: several times as long as messages have to wait. */
const LONG = 350;

const open: WorkerDemand[] = [];
afterEach(() => {
  for (const demand of open.splice(0)) demand.close();
});

function createDemand(options: Partial<WorkerDemandOptions>) {
  let demands = 0;
  const demand = new WorkerDemand({
    workers: () => 1,
    oldestSince: () => undefined,
    onDemand: () => {
      demands++;
    },
    ...options,
  });
  open.push(demand);
  return { demand, count: () => demands };
}

/** Keeps the event loop busy. @param duration in ms */
async function work(duration: number): Promise<void> {
  for (const end = performance.now() + duration; performance.now() < end; ) {
    for (const pause = performance.now() + 5; performance.now() < pause; );
    await nextTurn();
  }
}

test('once when messages have waited without a break', async () => {
  const { demand, count } = createDemand({ cores: 3 });
  demand.wait();
  await sleep(LONG);
  await expect.poll(count).toBe(1);
});

test('not when they have not waited all the time', async () => {
  const { demand, count } = createDemand({ cores: 2 });
  demand.wait();
  demand.endWait();
  await sleep(LONG);
  expect(count()).toBe(0);
});

test('not when this thread needs the last core, until it no longer does', async () => {
  const { demand, count } = createDemand({ cores: 2 });
  demand.wait();
  await work(LONG);
  expect(count()).toBe(0);
  await expect.poll(count).toBe(1);
});

test('although this thread is busy, if there is another core', async () => {
  const { demand, count } = createDemand({ cores: 3 });
  demand.wait();
  await work(LONG);
  await expect.poll(count).toBe(1);
});

test('not when the workers have all cores, unless a batch holds one up', async () => {
  const heldUpSince = performance.now();
  const [idle, heldUp] = [
    createDemand({ cores: 1 }),
    createDemand({ cores: 1, oldestSince: () => heldUpSince }),
  ];
  idle.demand.wait();
  heldUp.demand.wait();
  await sleep(LONG);
  expect(idle.count()).toBe(0);
  await expect.poll(heldUp.count).toBe(1);
});

test('not after it is closed', async () => {
  const { demand, count } = createDemand({ cores: 2 });
  demand.wait();
  demand.close();
  await sleep(LONG);
  expect(count()).toBe(0);
});
