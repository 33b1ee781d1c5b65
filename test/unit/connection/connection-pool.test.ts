import { once } from 'node:events';
import { ConnectionPool, type HealthIssue } from 'sluice';
import { describe, expect, test } from 'vitest';
import { startPlainBroker, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';

describe('the pool', () => {
  test('finds connections by what they are', async () => {
    const { manager, connect } = await startPlainBroker();
    const pool = manager.getConnectionPool();
    const [app, crawler] = [await connect(), await connect()];
    app.say('hello', { role: 'app' });
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    crawler.write(line(VALID.heartbeat));
    await Promise.all([app.settled(), crawler.settled()]);
    const [first, second] = pool.all();
    first?.tags.add('blue');
    expect(pool.filter({ role: 'app' })).toEqual([first]);
    expect(pool.filter({ crawlerId: 'crawler-1', state: 'active' })).toEqual([second]);
    expect(pool.filter({ tag: 'blue' })).toEqual([first]);
    expect(pool.filter({ where: ({ lastHeartbeatAt }) => lastHeartbeatAt !== undefined })).toEqual([second]);
    expect(pool.active()).toHaveLength(2);
    expect(pool.statistics).toMatchObject({ size: 2, peak: 2, added: 2, byRole: { app: 1, crawler: 1 } });
    expect(second?.statistics).toMatchObject({
      messagesReceived: 1,
      controlReceived: 2,
      messagesRejected: 0,
      errors: 0,
    });
    expect(second?.metadata.lastHeartbeat).toBeInstanceOf(Date);
  });

  test('is limited: further connections are rejected, and counted', async () => {
    const { manager, connect } = await startPlainBroker({ maxConnections: 2 });
    const rejected: unknown[] = [];
    manager.on('connection_rejected', (event) => rejected.push(event));
    const inside = [await connect(), await connect()];
    for (const peer of inside) await peer.settled();
    const outside = await connect();
    await outside.closed;
    expect(outside.errors).toEqual(['MAX_CONNECTIONS']);
    expect(rejected).toEqual([{ code: 'MAX_CONNECTIONS', connections: 2 }]);
    expect(manager.getConnectionPool().statistics).toMatchObject({ size: 2, rejected: 1 });
    await inside[0]?.close();
    await until(() => manager.getConnectionPool().size === 1);
    await (await connect()).settled();
  });

  test('closes a connection that it removes, also if nothing can be sent to it, but it is still read', async () => {
    const { manager, connect } = await startPlainBroker();
    const pool = manager.getConnectionPool();
    const peer = await connect();
    await peer.settled();
    const [connection] = pool.all();
    if (connection === undefined) return expect.unreachable();
    connection.stopReading();
    peer.write(line(VALID.heartbeat));
    await peer.close();
    const closed = once(connection, 'closed');
    await connection.send({ type: 'shutdown', timestamp: '2026-01-01T00:00:00Z', data: {} }).catch(() => {});
    expect(connection.isOpen).toBe(false);
    pool.remove(connection.id);
    await closed;
  });

  test('reports listener errors, or rethrows them without a handler', () => {
    const errors: unknown[] = [];
    const listened = new ConnectionPool(1, { onListenerError: (error) => errors.push(error) });
    const alone = new ConnectionPool(1);
    for (const pool of [listened, alone]) {
      pool.on('pool_capacity_reached', () => {
        throw new Error('mine');
      });
    }
    listened.reject();
    expect(errors).toEqual([expect.objectContaining({ message: 'mine' })]);
    expect(() => alone.reject()).toThrow('mine');
  });

  test('emits connections that are added and removed', async () => {
    const { manager, connect } = await startPlainBroker();
    const log: string[] = [];
    manager.on('connection_added', ({ connection }) => log.push(`added ${connection.id}`));
    manager.on('connection_removed', ({ connectionId, reason }) =>
      log.push(`removed ${connectionId} ${reason}`),
    );
    const peer = await connect();
    await peer.settled();
    const id = manager.getConnectionPool().all()[0]?.id;
    peer.socket.end();
    await peer.closed;
    await until(() => log.length === 2);
    expect(log).toEqual([`added ${id}`, `removed ${id} peer`]);
  });
});

describe('health', () => {
  test('a crawler that falls silent is closed and counted; one that pings is not', async () => {
    const { manager, connect } = await startPlainBroker({
      heartbeatInterval: 20,
      heartbeatTimeout: 600,
      healthCheckInterval: 20,
    });
    const warnings: HealthIssue[] = [];
    manager.on('health_warning', (issue) => warnings.push(issue));
    const [silent, lively] = [await connect(), await connect()];
    for (const peer of [silent, lively]) peer.write(line(VALID.heartbeat));
    const timer = setInterval(() => lively.say('ping'), 20);
    await silent.closed;
    clearInterval(timer);
    expect(lively.socket.destroyed).toBe(false);
    expect(manager.getStatus().health.dead).toBe(1);
    expect(warnings).toContainEqual(
      expect.objectContaining({ kind: 'heartbeat_missed', severity: 'critical' }),
    );
  });

  test('a subscriber may be silent', async () => {
    const { connect } = await startPlainBroker({
      heartbeatInterval: 10,
      heartbeatTimeout: 20,
      // Long enough to subscribe on a busy machine.
      connectionTimeout: 500,
      healthCheckInterval: 10,
    });
    const subscriber = await (await connect()).subscribe();
    const other = await connect();
    await other.closed;
    await subscriber.settled();
  });
});
