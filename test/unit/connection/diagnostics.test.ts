import { expect, test } from 'vitest';
import { startPlainBroker, until } from '../../support/broker.js';
import { eventsOf } from '../../support/diagnostics.js';
import { hello } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';

test('rejected and dropped messages are published, without their contents', async () => {
  const [rejected, dropped] = [eventsOf('sluice:rejected'), eventsOf('sluice:dropped')];
  const { connect } = await startPlainBroker({ maxPendingBytes: 64 * 1024 });
  const stuck = await (await connect()).subscribe({ overflow: 'drop-oldest' });
  stuck.socket.pause();
  const crawler = await connect();
  crawler.write(hello('c-1') + line({ type: 'job_failed', data: { error: 'CANARY' } }));
  await crawler.settled();
  expect(rejected).toEqual([
    {
      connectionId: expect.any(String),
      crawlerId: 'c-1',
      code: 'SCHEMA_VIOLATION',
      count: 1,
      messageType: 'job_failed',
    },
  ]);
  crawler.write(line(VALID.job_progress).repeat(5000));
  await until(() => dropped.length > 0);
  expect(dropped[0]).toMatchObject({ crawlerId: undefined, cause: 'drop-oldest', count: expect.any(Number) });
});
