import { expect, test } from 'vitest';
import { PAUSE } from '#src/connection/connection-state.js';
import { startBroker, startPlainBroker, until } from '../support/broker.js';
import { line, VALID } from '../support/messages.js';

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

test('no time passes for peers while the broker does not read, and none is forgotten', async () => {
  const { manager, connect } = await startPlainBroker();
  const peer = await connect();
  await peer.settled();
  peer.write('{"type":"job_started"');
  const [connection] = manager.getConnectionPool().all();
  if (connection === undefined) throw new Error('not connected');
  await until(() => connection.partialSince !== undefined);
  const clocks = () => [connection.lastActivityAt, connection.partialSince ?? 0];
  const pause = async (reason: number): Promise<number> => {
    const before = clocks();
    const start = performance.now();
    connection.setPaused(reason, true);
    await until(() => performance.now() - start > 10);
    connection.setPaused(reason, false);
    const [first = 0, second] = clocks().map((time, index) => time - (before[index] ?? 0));
    expect(second).toBeCloseTo(first);
    return first;
  };
  for (let round = 0; round < 3; round++) {
    const silence = performance.now() - connection.lastActivityAt;
    expect(await pause(PAUSE.SERVER)).toBeGreaterThan(10);
    expect(performance.now() - connection.lastActivityAt).toBeGreaterThan(silence);
    // It could read its replies.
    expect(await pause(PAUSE.UNREAD)).toBe(0);
  }
  // It reads its replies, though slowly.
  connection.setPaused(PAUSE.UNREAD, true);
  const [before = 0] = clocks();
  connection.reply(Buffer.from(line(VALID.job_cancel)));
  connection.flush();
  await peer.next('job_cancel');
  await until(() => connection.outbox.pendingBytes === 0);
  expect(connection.lastActivityAt).toBeGreaterThan(before);
  expect(connection.partialSince).toBe(connection.lastActivityAt);
});

test('few bytes for a peer, among very many for others, do not wait until there are more', async () => {
  const { connect } = await startBroker();
  const [everything, one, crawler] = [await connect(), await connect(), await connect()];
  await everything.subscribe();
  await one.subscribe({ jobIds: ['job-wanted'] });
  const many = line({ ...VALID.job_progress, jobId: 'job-other' }).repeat(4000);
  for (let round = 0; round < 20; round++) {
    one.lines.length = 0;
    // Nothing follows the message that it waits for.
    crawler.write(many + line({ ...VALID.job_started, jobId: 'job-wanted' }));
    await one.next('job_started');
  }
});
