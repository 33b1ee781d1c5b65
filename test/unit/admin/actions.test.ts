import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ask, sharePlainAdminBroker, startPlainAdminBroker } from '../../support/admin.js';
import { until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';

const ADMIN = 'admin-token-0123456789';
const MONITOR = 'monitor-token-0123456789';
const shared = sharePlainAdminBroker({
  feed: true,
  auth: { tokens: { admin: [ADMIN], monitor: [MONITOR] } },
});

function post(adminPath: string, path: string, body = '', token = ADMIN, type = 'application/json') {
  const headers = { 'content-type': type, authorization: `Bearer ${token}` };
  return ask(adminPath, path, { method: 'POST', headers, body });
}

async function withCrawler() {
  const broker = shared();
  const peer = await broker.connect();
  peer.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
  await peer.next('welcome');
  const [connection] = broker.manager.getConnectionPool().all();
  const path = `/api/connections/${connection?.id}`;
  const act = (action: string) => post(broker.adminPath, `${path}/${action}`);
  return { ...broker, peer, connection, path, act };
}

describe('actions', () => {
  test('pause reading from a connection until it is resumed, and close it', async () => {
    const { peer, connection, act } = await withCrawler();
    expect(await act('pause')).toMatchObject({ status: 200 });
    expect(connection?.isPaused).toBe(true);
    const received = connection?.sequence;
    const settled = peer.settled();
    peer.write(line(VALID.heartbeat));
    expect(connection?.sequence).toBe(received);
    expect(JSON.parse((await act('resume')).body)).toEqual({
      action: 'resume',
      connectionId: connection?.id,
    });
    await settled;
    expect(connection?.isPaused).toBe(false);
    await act('pause');
    const closed = once(peer.socket, 'close');
    expect((await act('close')).status).toBe(200);
    await closed;
    await until(() => connection?.state === 'disconnected');
    expect((await act('close')).status).toBe(404);
  });

  test('send a message to a crawler, or to all', async () => {
    const { adminPath, peer } = await withCrawler();
    const message = VALID.job_cancel;
    const send = (body: object) => post(adminPath, '/api/messages', JSON.stringify(body));
    for (const body of [{ crawlerId: 'crawler-1', message }, { message }]) {
      const { status, body: text } = await send(body);
      expect([status, JSON.parse(text)]).toEqual([200, { delivered: 1, failed: 0 }]);
      expect(await peer.next('job_cancel')).toMatchObject({ type: 'job_cancel' });
    }
    expect((await send({ crawlerId: 'nobody', message })).status).toBe(404);
    expect((await send({ crawlerId: 1, message })).status).toBe(400);
    const invalid = await send({ message: { type: 'job_cancel', secret: 'hunter2' } });
    expect(invalid.status).toBe(400);
    expect(invalid.body).not.toContain('hunter2');
  });

  test('need an admin token, POST, and a small body in JSON', async () => {
    const { adminPath, path, connection } = await withCrawler();
    for (const token of ['wrong-token-0123456789', MONITOR])
      expect((await post(adminPath, `${path}/close`, '', token)).status).toBe(401);
    expect((await post(adminPath, `${path}/close`, '', ADMIN, 'text/plain')).status).toBe(415);
    expect((await post(adminPath, '/api/messages', '{')).status).toBe(400);
    expect((await post(adminPath, '/api/messages', ' '.repeat(65_537))).status).toBe(413);
    const got = await ask(adminPath, `${path}/close`);
    expect([got.status, got.headers.allow]).toEqual([405, 'POST']);
    expect(got.headers['access-control-allow-origin']).toBeUndefined();
    expect(connection?.isOpen).toBe(true);
  });

  test('are forbidden without admin tokens, and the answer says how to configure one', async () => {
    const { adminPath } = await startPlainAdminBroker();
    const { status, body } = await post(adminPath, '/api/messages', '{}');
    expect([status, JSON.parse(body)]).toEqual([
      403,
      { error: 'actions need an admin token: set the option auth.tokens.admin' },
    ]);
  });
});

test('an admin token is not one of a peer, and does not make peers need one', async () => {
  const { connect } = await startPlainAdminBroker({ auth: { tokens: { admin: [ADMIN] } } });
  const peer = await connect();
  peer.say('hello', { role: 'app' });
  await peer.next('welcome');
  const other = await connect();
  other.say('hello', { role: 'admin', token: ADMIN });
  expect((await other.next('error')).data.code).toBe('SCHEMA_VIOLATION');
});
