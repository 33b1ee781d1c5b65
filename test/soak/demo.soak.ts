import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask } from '../support/admin.js';
import { temporaryFolder } from '../support/broker.js';
import { sluice } from '../support/cli.js';

/** With the subscriber, one more than a broker has room for by default. */
const CRAWLERS = 1024;

test('all crawlers of a large demo are connected at once', async () => {
  const admin = join(temporaryFolder(), 'admin.sock');
  const fleet = ['--crawlers', String(CRAWLERS), '--rate', '10', '--duration', '600', '--workers', '1'];
  const run = sluice(['demo', ...fleet, '--admin', admin]);
  await run.says('The dashboard');
  const openConnections = async () => JSON.parse((await ask(admin, '/api/stats')).body).connections.open;
  await expect.poll(openConnections, { interval: 200, timeout: 600_000 }).toBe(CRAWLERS + 1);
  run.child.kill('SIGINT');
  expect(await run.exited).toBe(0);
});
