import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { AdminSource } from '#src/admin/admin-source.js';
import { DeadLetterStore } from '#src/admin/dead-letter-store.js';
import { parseListQuery } from '#src/admin/list-query.js';
import type { BrokerStats, DeadLetterList } from '#src/admin/snapshot.js';
import { lockPath } from '#src/config/unix-socket.js';
import { adminSourceOf, ask, serveAdmin, startPlainAdminBroker } from '../../support/admin.js';
import { temporaryFolder } from '../../support/broker.js';
import { shareSluice } from '../../support/cli.js';
import { makeDeadLetters } from '../../support/dead-letters.js';

const ADMIN = 'admin-token-0123456789';
const PATH = '/api/dead-letters';
const run = shareSluice();

async function start(options: object = {}) {
  const log = join(temporaryFolder(), 'log');
  const broker = await startPlainAdminBroker({ log, ...options });
  await makeDeadLetters(broker, log);
  const list = async (query = '', headers = {}) => {
    const { body } = await ask(broker.adminPath, `${PATH}?${query}`, { headers });
    return JSON.parse(body) as DeadLetterList;
  };
  const idsAt = async (query: string) => (await list(query)).rows.map(({ id }) => id);
  const drop = async (body: unknown, token = ADMIN) => {
    const reply = await ask(broker.adminPath, `${PATH}/drop`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    });
    return [reply.status, JSON.parse(reply.body)];
  };
  return { ...broker, log, list, idsAt, drop };
}

test('the dead letters are listed, the newest first, without their content', async () => {
  const { list, get } = await start();
  const { total, rows } = await list();
  expect(total).toBe(2);
  expect(rows).toEqual([
    {
      id: 1,
      at: expect.any(Number),
      reason: 'MAX_DELIVERIES',
      messageType: 'job_started',
      crawlerId: 'crawler-7',
      connectionId: expect.any(String),
      group: 'workers',
      position: expect.stringMatching(/^[\da-f]{16}:0$/),
      bytes: expect.any(Number),
      isWhole: true,
      issues: [],
    },
    expect.objectContaining({
      id: 0,
      reason: 'SCHEMA_VIOLATION',
      messageType: 'heartbeat',
      group: null,
      position: null,
      isWhole: false,
      issues: expect.arrayContaining([{ path: expect.any(String), code: expect.any(String) }]),
    }),
  ]);
  expect((await get(PATH)).body).not.toMatch(/job-13|password/);
});

test('they are found by a part of a name, by group and by reason, by pages, and in CSV', async () => {
  const { list, idsAt, get } = await start();
  expect(await idsAt('search=JOB_')).toEqual([1]);
  expect(await idsAt('search=crawler-7')).toEqual([1, 0]);
  expect(await idsAt('group=workers')).toEqual([1]);
  expect(await idsAt('group=work')).toEqual([]);
  expect(await idsAt('reason=SCHEMA_VIOLATION')).toEqual([0]);
  expect(await idsAt('limit=1')).toEqual([1]);
  expect(await idsAt('offset=1&limit=1')).toEqual([0]);
  expect(await list('offset=2')).toEqual({ total: 2, rows: [] });
  for (const query of ['limit=501', 'offset=10001', 'format=xml', 'sort=id'])
    expect((await get(`${PATH}?${query}`)).status).toBe(400);
  const { headers, body } = await get(`${PATH}?format=csv&reason=MAX_DELIVERIES`);
  expect(headers['content-disposition']).toBe('attachment; filename="dead-letters.csv"');
  expect(body).toMatch(
    /^id,at,reason,messageType,.*\r\n1,\d+,MAX_DELIVERIES,job_started,crawler-7,.*,workers,\S+,true\r\n$/,
  );
});

test('the beginning of a message is shown to those who may see the live tail', async () => {
  const monitor = 'monitor-token-0123456789';
  const log = join(temporaryFolder(), 'log');
  // Peers need no token.
  const open = await startPlainAdminBroker({ log, feed: true });
  await makeDeadLetters(open, log);
  const shown = await open.read<DeadLetterList>(PATH);
  expect(shown.rows[0]?.sample).toContain('job-13');
  expect(JSON.stringify(shown)).not.toContain('hunter2');
  await open.manager.stop();
  const closed = await startPlainAdminBroker({ log, feed: true, auth: { tokens: { monitor: [monitor] } } });
  for (const [headers, sample] of [
    [{}, undefined],
    [{ authorization: 'Bearer wrong-token-0123456789' }, undefined],
    [{ authorization: `Bearer ${monitor}` }, shown.rows[0]?.sample],
  ] as const) {
    const { body } = await ask(closed.adminPath, PATH, { headers });
    expect((JSON.parse(body) as DeadLetterList).rows[0]?.sample).toBe(sample);
  }
});

test('without a durable log, the answer says which option is needed', async () => {
  const { get } = await startPlainAdminBroker();
  const { status, body } = await get(PATH);
  expect([status, JSON.parse(body)]).toEqual([
    404,
    { error: 'there are no dead letters: set the option log' },
  ]);
});

test('an admin token drops those that are there, and never one that comes later', async () => {
  const { drop, idsAt, connect } = await start({ auth: { tokens: { admin: [ADMIN] } } });
  expect(await drop({ ids: [1, 2] }, 'wrong-token-0123456789')).toEqual([401, expect.anything()]);
  const tooMany = Array.from({ length: 101 }, (_, id) => id);
  for (const ids of [undefined, [], ['1'], [-1], [0.5], tooMany])
    expect(await drop({ ids })).toEqual([400, { error: 'ids: must be a list of 1 to 100 IDs' }]);
  expect(await drop({ ids: [2] })).toEqual([404, { error: 'no such dead letters' }]);
  expect(await drop({ ids: [1, 2] })).toEqual([200, { action: 'drop', dropped: [1] }]);
  expect(await idsAt('')).toEqual([0]);
  const crawler = await connect();
  crawler.write('{"type":"nonsense"}\n');
  await expect.poll(() => idsAt('')).toEqual([2, 0]);
});

describe('sent again, with an admin token', () => {
  const retry = async (adminPath: string, ids: readonly number[]) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${ADMIN}` };
    const body = JSON.stringify({ ids });
    const reply = await ask(adminPath, `${PATH}/retry`, { method: 'POST', headers, body });
    return [reply.status, JSON.parse(reply.body)];
  };
  const BEGINNING = 'only its beginning was kept: see the option rejectedBytes';

  test('a message is received again, although peers need tokens, and no longer listed', async () => {
    const { manager, log } = await start();
    await manager.stop();
    const tokens = { admin: [ADMIN], crawler: ['crawler-token-0123456789'], app: ['app-token-0123456789'] };
    const { adminPath, connect, read } = await startPlainAdminBroker({ log, auth: { tokens } });
    const app = await connect();
    app.say('hello', { role: 'app', token: 'app-token-0123456789' });
    await app.subscribe({ id: 'all', types: ['*', 'presence'], crawlerIds: ['crawler-7'], meta: true });
    expect(await retry(adminPath, [0, 1, 7])).toEqual([
      200,
      { action: 'retry', sent: [1], failed: [{ id: 0, error: BEGINNING }] },
    ]);
    // As a message of its crawler.
    const received = await app.next(({ crawlerId }) => crawlerId === 'crawler-7');
    expect(received).toMatchObject({ message: { jobId: 'job-13' } });
    expect((await read<DeadLetterList>(PATH)).rows.map(({ id }) => id)).toEqual([0]);
    expect(await retry(adminPath, [1])).toEqual([404, { error: 'no such dead letters' }]);
    // The broker's own connection is closed.
    await expect.poll(async () => (await read<{ rows: unknown[] }>('/api/connections')).rows).toHaveLength(1);
    // It does not count as a crawler, which would leave the job behind.
    await app.settled();
    expect(app.messages.filter(({ type }) => type === 'presence')).toEqual([]);
  });

  test('what the broker rejects again stays, and is another dead letter', async () => {
    const { connect, adminPath, idsAt } = await start({
      rejectedBytes: 'full',
      auth: { tokens: { admin: [ADMIN] } },
    });
    const crawler = await connect();
    crawler.write('{"type":"nonsense"}\n');
    await expect.poll(() => idsAt('')).toEqual([2, 1, 0]);
    const [status, { sent, failed }] = await retry(adminPath, [1, 2]);
    expect([status, sent]).toEqual([200, [1]]);
    expect(failed).toEqual([{ id: 2, error: expect.stringMatching(/^UNKNOWN_TYPE: /) }]);
    await expect.poll(() => idsAt('')).toEqual([3, 2, 0]);
  });

  test('what is rejected without an error reply stays, too', async () => {
    const { connect, adminPath, idsAt } = await start({
      rejectedBytes: 'full',
      maxErrorReplies: 0,
      auth: { tokens: { admin: [ADMIN] } },
    });
    const crawler = await connect();
    crawler.write('{"type":"nonsense"}\n'.repeat(30));
    await expect.poll(() => idsAt('reason=UNKNOWN_TYPE')).toHaveLength(30);
    const ids = await idsAt('reason=UNKNOWN_TYPE');
    const [status, { sent, failed }] = await retry(adminPath, ids);
    expect([status, sent, failed.length]).toEqual([200, [], 30]);
    expect(failed[29].error).toBe('it was rejected, without an error reply: see the option maxErrorReplies');
    expect(await idsAt('reason=UNKNOWN_TYPE')).toEqual(expect.arrayContaining(ids));
  });

  test('a broker that confirms nothing, or closes, is an error of each message', async () => {
    const { manager } = await start();
    const source = adminSourceOf(manager, {
      openSender: async () => ({
        send: () => Promise.reject(new SluiceError('SEND_TIMEOUT')),
        close: () => {},
      }),
    });
    expect(await new DeadLetterStore(source).retry(new Set([0, 1]))).toEqual({
      sent: [],
      failed: [
        { id: 0, error: BEGINNING },
        { id: 1, error: expect.stringMatching(/^SEND_TIMEOUT: /) },
      ],
    });
  });

  // Only Linux has this lock.
  test.runIf(process.platform === 'linux')(
    'those that are sent, but cannot be dropped, are reported as such',
    async () => {
      const { manager, log } = await start();
      const source = adminSourceOf(manager, {
        openSender: async () => ({ send: async () => undefined, close: () => {} }),
      });
      const unlock = await lockPath(join(realpathSync(log), 'dead-letters/dropped.json'));
      onTestFinished(unlock);
      const { sent, failed } = await new DeadLetterStore(source).retry(new Set([1]));
      expect(sent).toEqual([]);
      expect(failed).toEqual([
        { id: 1, error: expect.stringMatching(/^it was sent, but .*other processes/) },
      ]);
    },
  );
});

test('two drops at once both count, and a third request at once is rejected', async () => {
  const { manager, idsAt } = await start();
  const store = new DeadLetterStore(adminSourceOf(manager));
  const query = parseListQuery(new URLSearchParams());
  const drops = [store.drop(new Set([0])), store.drop(new Set([1]))];
  await expect(
    store.list({ ...query, group: null, reason: null, showsSamples: false }),
  ).rejects.toMatchObject({ status: 503 });
  expect(await Promise.all(drops)).toEqual([[0], [1]]);
  expect(await idsAt('')).toEqual([]);
});

test('a drop is logged with the IDs; errors of the disk are, too, and the client gets none of their text', async () => {
  const { manager } = await start();
  const actions: unknown[] = [];
  const errors: unknown[] = [];
  const serve = async (options: Partial<AdminSource>) => {
    const source = adminSourceOf(manager, {
      verifyAdminToken: () => true,
      logAction: (...action) => actions.push(action),
      ...options,
    });
    const socketPath = await serveAdmin(source, (error) => errors.push(error));
    const headers = { 'content-type': 'application/json' };
    return (path: string, body?: string) =>
      ask(socketPath, path, body === undefined ? {} : { method: 'POST', headers, body });
  };
  const request = await serve({});
  expect((await request(`${PATH}/drop`, '{"ids":[0]}')).status).toBe(200);
  expect(actions).toEqual([['drop_dead_letters', undefined, [0]]]);

  const log = join(temporaryFolder(), 'none');
  const failing = await serve({ options: { ...manager.options, log } });
  for (const [path, body, error] of [
    [PATH, undefined, 'failed to read the dead letters'],
    [`${PATH}/drop`, '{"ids":[0]}', "failed; see the broker's log"],
  ] as const) {
    const reply = await failing(path, body);
    expect([reply.status, JSON.parse(reply.body)]).toEqual([500, { error }]);
  }
  expect(errors).toMatchObject([{ code: 'ENOENT' }, { code: 'ENOENT' }]);
});

test('the statistics and sluice status have the work groups, and count the dead letters', async () => {
  const { read, connect, adminPath } = await start();
  const second = await connect();
  await second.subscribe({ id: 'g', group: 'idle', ack: 'manual' });
  await expect
    .poll(async () => (await read<BrokerStats>('/api/stats')).durableLog)
    .toMatchObject({
      workGroupsTotal: 2,
      workGroups: [
        { name: 'workers', members: 1, held: 0, waiting: 0 },
        { name: 'idle', members: 1, held: 0, waiting: 0 },
      ],
      deadLetters: { failed: 1, rejected: 1, omitted: 0 },
    });
  const { stdout } = await run(['status', '--admin', adminPath]);
  expect(stdout).toMatch(
    /^groups {4}2 groups, busiest 0 held, 0 waiting; dead letters since the start: 1 failed, 1 rejected$/m,
  );
});
