// The durable log in the statistics, the metrics and the command line.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { BrokerStats } from '#src/admin/snapshot.js';
import { type AdminBroker, metricValue, startPlainAdminBroker } from '../../support/admin.js';
import { shareIdle, temporaryFolder } from '../../support/broker.js';
import { shareSluice } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import type { WhenOver } from '../../support/share.js';

const MESSAGES = 300;
const CURSORS = 210;
/** As of a log that was deleted, with a name that is not meant for a terminal. */
const FOREIGN = 'of another log\u001b[2J';

/** A broker with 300 stored messages and 210 cursors: one of another log, one after each of the first 209 messages. */
async function startWithCursors(whenOver: WhenOver): Promise<AdminBroker> {
  const log = join(temporaryFolder(whenOver), 'log');
  mkdirSync(log);
  const cursors = { [FOREIGN]: { epoch: '0123456789abcdef', offset: 7 } };
  writeFileSync(join(log, 'cursors.json'), JSON.stringify({ version: 1, cursors }));
  const broker = await startPlainAdminBroker({ log }, whenOver);
  const crawler = await Peer.connect(broker.socketPath);
  crawler.write(line(VALID.heartbeat).repeat(MESSAGES));
  await crawler.settled();
  await crawler.close();
  // The nearest first: each of the next ones displaces another one from those that are listed.
  for (let offset = CURSORS - 1; offset > 0; offset--) await addCursor(broker.socketPath, offset);
  return broker;
}

async function addCursor(socketPath: string, offset: number): Promise<void> {
  const app = await Peer.connect(socketPath);
  await app.subscribe({ id: 'a', cursor: `cursor-${offset}`, ack: 'manual', from: 'first' });
  const { position } = (await app.next('position')).data as { position: string };
  app.say('ack', { id: 'a', position: position.replace(/:.*/, `:${offset}`) });
  await app.settled();
  await app.close();
}

describe('the durable log', () => {
  const shared = shareIdle(startWithCursors);
  const run = shareSluice();

  test('is in the statistics, with the 100 cursors that are furthest behind', async () => {
    const { read } = shared();
    const { durableLog } = await read<BrokerStats>('/api/stats');
    expect(durableLog).toMatchObject({
      messages: MESSAGES,
      bytes: expect.any(Number),
      pendingBytes: 0,
      isAvailable: true,
      failures: 0,
      messagesPassed: 0,
      cursorsTotal: CURSORS,
    });
    expect(durableLog?.bytes).toBeGreaterThan(0);
    expect(durableLog?.syncs).toBeGreaterThan(0);
    expect(durableLog?.cursors).toEqual([
      { name: FOREIGN, behind: MESSAGES },
      ...Array.from({ length: 99 }, (_, index) => ({
        name: `cursor-${index + 1}`,
        behind: MESSAGES - index - 1,
      })),
    ]);
  });

  test('has the average time of the latest syncs, if there were any', async () => {
    const { connect, read, manager } = shared();
    const crawler = await connect();
    const store = async () => {
      crawler.write(line({ ...VALID.heartbeat }));
      await crawler.settled();
    };
    // A sample may be as old as the shortest interval between two.
    let stats = await read<BrokerStats>('/api/stats');
    await expect
      .poll(async () => {
        await store();
        stats = await read<BrokerStats>('/api/stats');
        return stats.durableLog?.syncTime;
      })
      .toBeGreaterThan(0);
    const total = manager.getMetrics().durableLog?.syncTime;
    expect(stats.durableLog?.syncTime).toBeLessThan(total ?? 0);
    await expect.poll(async () => (await read<BrokerStats>('/api/stats')).durableLog?.syncTime).toBe(null);
  });

  test('has metrics of its cursors, without their names', async () => {
    const { get, manager } = shared();
    const { body } = await get('/metrics');
    expect(metricValue(body, 'sluice_durable_log_cursors')).toBe(CURSORS);
    expect(metricValue(body, 'sluice_durable_log_max_lag_messages')).toBe(
      manager.getMetrics().durableLog?.end,
    );
    expect(body).not.toContain('cursor-1');
  });

  test('is one line of sluice status and sluice top', async () => {
    const { adminPath } = shared();
    const status = await run(['status', '--admin', adminPath]);
    expect(status.stdout).toMatch(
      /^log {7}3\d\d messages, [\d.]+ [kM]B, disk works; 210 cursors, furthest 3\d\d behind: of another log\\u001b\[2J$/m,
    );
    const top = await run(['top', '--admin', adminPath]);
    expect(top.stdout).toMatch(/^log {7}3\d\d messages, /m);
    const json = await run(['status', '--json', '--admin', adminPath]);
    expect(JSON.parse(json.stdout).durableLog.cursors[0].name).toBe(FOREIGN);
    expect(json.stdout).not.toContain('\u001b');
  });
});
