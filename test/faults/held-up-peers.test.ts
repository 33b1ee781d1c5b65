import { expect, test } from 'vitest';
import { PAUSE } from '#src/connection/connection-state.js';
import { startBroker, until } from '../support/broker.js';
import { VALID } from '../support/messages.js';

test('pings peers that it does not read from, but for plain crawlers, until it reads again', async () => {
  const { manager, connect } = await startBroker({ healthCheckInterval: 5 });
  let checks = 0;
  manager.on('health_summary', () => checks++);
  const more = (count: number) =>
    until(
      (
        (wanted) => () =>
          checks >= wanted
      )(checks + count),
    );
  const [app, pinging, plain] = [await connect(), await connect(), await connect()];
  app.say('hello', { role: 'app' });
  await app.next('welcome');
  await pinging.settled();
  plain.say('job_request');
  plain.say('job_started', VALID.job_started.data, { jobId: 'job-1' });
  await until(() => (manager.getMetrics().protocol.accepted.job_started ?? 0) === 1);
  await more(3);
  expect([app, pinging, plain].map(({ lines }) => lines.length)).toEqual([1, 1, 0]);
  const setPaused = (isPaused: boolean) => {
    for (const connection of manager.getConnectionPool()) connection.setPaused(PAUSE.SERVER, isPaused);
  };
  setPaused(true);
  await app.next('ping');
  await pinging.next('ping');
  await more(3);
  expect(plain.lines).toEqual([]);
  setPaused(false);
  await app.settled();
  const before = app.lines.length;
  await more(3);
  expect(app.lines).toHaveLength(before);
});
