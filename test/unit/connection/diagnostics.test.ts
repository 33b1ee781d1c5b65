import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { expect, onTestFinished, test } from 'vitest';
import { LIGHT, startBroker, startPlainBroker, until } from '../../support/broker.js';
import { hello } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';

/** What a channel publishes during the test. */
function eventsOf(channel: string): unknown[] {
  const events: unknown[] = [];
  const add = (event: unknown) => void events.push(event);
  subscribe(channel, add);
  onTestFinished(() => void unsubscribe(channel, add));
  return events;
}

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

test('workers that fail are published', async () => {
  const failed = eventsOf('sluice:worker-failed');
  const schemas = new URL('../../support/deadly-schemas.mjs', import.meta.url);
  const { connect } = await startBroker({ ...LIGHT, schemas });
  const crawler = await connect();
  crawler.write(line({ type: 'deadly' }));
  await until(() => failed.length > 0);
  expect(failed[0]).toMatchObject({ error: expect.any(Error) });
});
