import { describe, expect, test } from 'vitest';
import { sortRows } from '#src/admin/connection-rows.js';
import type { ConnectionDetail, ConnectionList } from '#src/admin/snapshot.js';
import { sharePlainAdminBroker } from '../../support/admin.js';
import { until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';

const shared = sharePlainAdminBroker();

async function withPeers(names: readonly string[]) {
  const broker = shared();
  const peers = [];
  for (const crawlerId of names) {
    const peer = await broker.connect();
    peer.say('hello', { role: 'crawler', crawlerId, name: `program of ${crawlerId}` });
    await peer.next('welcome');
    peers.push(peer);
  }
  const namesAt = async (query: string) => {
    const { rows } = await broker.read<ConnectionList>(`/api/connections?${query}`);
    return rows.map(({ crawlerId }) => crawlerId);
  };
  // A sample is kept for a while.
  await until(() => broker.manager.getConnectionPool().size === names.length);
  await expect.poll(async () => (await namesAt('')).toSorted()).toEqual(names.toSorted());
  return { ...broker, peers, namesAt };
}

describe('/api/connections', () => {
  test('finds connections by a part of their names, in any case', async () => {
    const { namesAt, read } = await withPeers(['Alpha-1', 'alpha-2', 'beta']);
    expect((await namesAt('search=ALPHA')).sort()).toEqual(['Alpha-1', 'alpha-2']);
    expect(await namesAt('search=of+BETA')).toEqual(['beta']);
    expect((await namesAt('search=crawler')).length).toBe(3);
    const { total, rows } = await read<ConnectionList>('/api/connections?search=alpha&limit=1');
    expect([total, rows.length]).toEqual([2, 1]);
    const [{ id } = { id: '' }] = rows;
    expect((await read<ConnectionList>(`/api/connections?search=${id}`)).total).toBe(1);
    expect(await namesAt('search=nobody')).toEqual([]);
  });

  test('returns them by pages, in either order, unknown values last', async () => {
    const { namesAt, connect } = await withPeers(['a', 'b', 'c']);
    expect(await namesAt('sort=crawlerId')).toEqual(['a', 'b', 'c']);
    expect(await namesAt('sort=crawlerId&order=desc')).toEqual(['c', 'b', 'a']);
    expect(await namesAt('sort=crawlerId&offset=1&limit=1')).toEqual(['b']);
    expect(await namesAt('sort=crawlerId&offset=3')).toEqual([]);
    await connect();
    await expect.poll(() => namesAt('sort=crawlerId&order=asc')).toEqual(['a', 'b', 'c', null]);
    expect(await namesAt('sort=crawlerId&order=desc')).toEqual(['c', 'b', 'a', null]);
  });

  test('sorts numbers from the largest unless it is told otherwise, and the health from the worst', async () => {
    const { namesAt, peers, read } = await withPeers(['a', 'b']);
    peers[1]?.write(line(VALID.heartbeat).repeat(3));
    await peers[1]?.settled();
    await expect.poll(() => namesAt('sort=messagesReceived')).toEqual(['b', 'a']);
    expect(await namesAt('sort=messagesReceived&order=asc')).toEqual(['a', 'b']);
    expect(await namesAt('sort=messagesReceived&order=desc')).toEqual(['b', 'a']);
    const [row] = (await read<ConnectionList>('/api/connections')).rows;
    const rows = (['healthy', 'unhealthy', 'slow'] as const).flatMap((health) =>
      row ? [{ ...row, health }] : [],
    );
    const healths = (order?: 'asc' | 'desc') => sortRows(rows, 'health', order).map(({ health }) => health);
    expect(healths()).toEqual(['unhealthy', 'slow', 'healthy']);
    expect(healths('asc')).toEqual(['unhealthy', 'slow', 'healthy']);
    expect(healths('desc')).toEqual(['healthy', 'slow', 'unhealthy']);
  });

  test('is a file in CSV, in which no cell is a formula', async () => {
    const { get } = await withPeers(['=1+1', '-2', '@x', '+y', 'with "quotes", and commas', 'plain']);
    const { status, headers, body } = await get('/api/connections?format=csv&sort=crawlerId');
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('text/csv; charset=utf-8; header=present');
    expect(headers['content-disposition']).toBe('attachment; filename="connections.csv"');
    const [head = '', ...rows] = body.split('\r\n');
    expect(rows.pop()).toBe('');
    expect(rows.length).toBe(6);
    expect(head).toMatch(/^id,role,crawlerId,name,state,.*,lastError$/);
    expect(body).toContain(',"with ""quotes"", and commas",');
    for (const cell of ["'=1+1", "'-2", "'@x", "'+y", 'plain']) expect(body).toContain(`,crawler,${cell},`);
    expect(body).not.toMatch(/(?:^|,)"?[=@]/m);
  });

  test.each([
    ['limit=0', 'limit: must be 1 to 10000'],
    ['limit=1e2', 'limit: must be 1 to 10000'],
    ['offset=-1', 'offset: must be 0 to 1000000000'],
    ['order=up', 'order: must be asc or desc'],
    ['format=xml', 'format: must be json or csv'],
    ['sort=nothing', 'sort: unknown column'],
    ['serach=x', 'serach: unknown parameter'],
    [`search=${'x'.repeat(257)}`, 'search: must have at most 256 characters'],
  ])('rejects %s', async (query, error) => {
    const { status, body } = await shared().get(`/api/connections?${query}`);
    expect([status, JSON.parse(body)]).toEqual([400, { error }]);
  });
});

describe('/api/connections/ID', () => {
  test('is one connection, with its subscriptions and what was rejected', async () => {
    const { connect, read, manager } = shared();
    const peer = await connect();
    const [connection] = manager.getConnectionPool().all();
    const path = `/api/connections/${connection?.id}`;
    const jobIds = Array.from({ length: 30 }, (_, at) => `job-${at}`);
    peer.write(line({ type: 'nonsense' }).repeat(2) + line({ type: 'heartbeat' }));
    peer.say('hello', { role: 'app', name: 'reader' });
    await peer.next('welcome');
    await peer.subscribe({ id: 'a', types: ['job_*'], jobIds, group: 'workers' });
    await peer.subscribe({ id: 'b', crawlerIds: ['crawler-1'], overflow: 'drop-oldest' });
    const detail = await read<ConnectionDetail>(path);
    expect(detail).toMatchObject({
      id: connection?.id,
      role: 'app',
      name: 'reader',
      overflow: 'drop-oldest',
      messagesRejected: 3,
      messagesDropped: 0,
      uptime: expect.any(Number),
      rejected: { UNKNOWN_TYPE: 2, SCHEMA_VIOLATION: 1 },
      subscriptionsTotal: 2,
      subscriptions: [
        {
          id: 'a',
          types: { values: ['job_*'], total: 1 },
          jobIds: { values: jobIds.slice(0, 20), total: 30 },
          crawlerIds: null,
          group: 'workers',
          cursor: null,
        },
        {
          id: 'b',
          types: { values: ['*'], total: 1 },
          jobIds: null,
          crawlerIds: { values: ['crawler-1'], total: 1 },
          group: null,
          cursor: null,
        },
      ],
    });
    peer.say('unsubscribe', { id: 'a' });
    await peer.next('unsubscribed');
    expect((await read<ConnectionDetail>(path)).subscriptionsTotal).toBe(1);
  });

  test.each(['/api/connections/nobody', '/api/connections/%00', '/api/connections/__proto__'])(
    '%s is not found',
    async (path) => {
      const { status, body } = await shared().get(path);
      expect([status, JSON.parse(body)]).toEqual([404, { error: 'no such connection' }]);
    },
  );
});
