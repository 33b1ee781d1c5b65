// A fleet in the statistics, the metrics, the command line and the dashboard.

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { BrokerStats } from '#src/admin/snapshot.js';
import { metricValue, startPlainAdminBroker } from '../../support/admin.js';
import { temporaryFolder, until } from '../../support/broker.js';
import { browserPath, sharePage } from '../../support/browser.js';
import { shareSluice, sluice } from '../../support/cli.js';
import { publish, startHost } from '../../support/fleet.js';
import { hasNatsServer, NatsServer } from '../../support/nats-server.js';

async function startWatchedHost(admin?: string) {
  const engine = await NatsServer.start();
  const log = join(temporaryFolder(), 'log');
  const watched = await startPlainAdminBroker({ log, fleet: [engine.address], fleetHost: 'a', admin });
  const other = await startHost(engine, 'b');
  await publish(watched.socketPath, 1, 0, 1234);
  await until(() => watched.manager.getMetrics().fleet?.messages === 1234);
  await until(() => watched.manager.getMetrics().fleet?.hosts.length === 2);
  return { engine, watched, other };
}

describe.skipIf(!hasNatsServer)('a fleet (needs nats-server)', () => {
  const run = shareSluice();

  test('is what sluice sub --fleet --last begins with: the latest message of each job of all hosts', async () => {
    const { watched, other } = await startWatchedHost();
    await publish(other.socketPath, 2, 0, 5);
    const sub = sluice(['sub', '--fleet', '--last', '--socket', watched.socketPath]);
    await sub.says('"producer-2"');
    await sub.says('"producer-1"');
    const jobs = sub.stdout
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text));
    expect(jobs).toHaveLength(2);
    sub.child.kill('SIGTERM');
    expect(await sub.exited).toBe(0);
  });

  test('is in the statistics, the metrics and sluice status, with all hosts', async () => {
    const { engine, watched, other } = await startWatchedHost();
    const { fleet } = await watched.read<BrokerStats>('/api/stats');
    expect(fleet).toMatchObject({ host: 'a', isConnected: true, messages: 1234, lag: 0, tooLong: 0 });
    expect(fleet?.hosts).toMatchObject([
      { host: 'a', lag: 0 },
      { host: 'b', lag: 0 },
    ]);
    const metrics = (await watched.get('/metrics')).body;
    expect(metricValue(metrics, 'sluice_fleet_connected')).toBe(1);
    expect(metricValue(metrics, 'sluice_fleet_messages_forwarded_total')).toBe(1234);
    expect(metricValue(metrics, 'sluice_fleet_lag_messages')).toBe(0);
    const admin = String(watched.manager.getStatus().admin);
    const status = await run(['status', '--admin', admin]);
    expect(status.code).toBe(0);
    expect(status.stdout).toMatch(
      /^fleet +engine connected, 2 hosts\n +a: [\d,]+ messages\/s, 0 connections, 0 behind\n +b: /m,
    );
    await other.manager.stop();
    await engine.kill();
    // Requests that follow another one closely get the same sample.
    await expect
      .poll(async () => (await watched.read<BrokerStats>('/api/stats')).fleet?.isConnected)
      .toBe(false);
    const away = await run(['status', '--admin', admin]);
    expect(away.code).toBe(0);
    expect(away.stdout).toContain('engine not connected');
  });
});

const suite = `the dashboard of a fleet${browserPath === undefined ? ' (needs chromium)' : ''}`;
describe.skipIf(!hasNatsServer || browserPath === undefined)(suite, () => {
  const openPage = sharePage();

  test('shows the engine and the hosts', async () => {
    const { watched } = await startWatchedHost('127.0.0.1:0');
    const { page, complaints } = await openPage(`http://${watched.manager.getStatus().admin}/`);
    const fleet = page.getByRole('region', { name: 'Fleet', exact: true });
    await fleet.getByRole('cell', { name: 'b', exact: true }).waitFor();
    expect(await fleet.locator('tbody tr td:first-child').allTextContents()).toEqual(['a', 'b']);
    const figures = await fleet.locator('dl div').allTextContents();
    expect(figures).toEqual(
      expect.arrayContaining(['Engineconnected', 'This hosta', 'Waiting to be forwarded0']),
    );
    expect(complaints).toEqual([]);
  });
});
