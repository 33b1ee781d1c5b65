import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { WarningLogger } from '#src/connection/warning-logger.js';
import type { Peer as Connection } from '#src/protocol/peer.js';
import { LIGHT, temporaryFolder, until } from '../../support/broker.js';
import { changed, line } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

/** A log, and the lines written to it. */
function logOf(level: string) {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(bytes: Buffer, _encoding, done) {
      lines.push(JSON.parse(bytes.toString()));
      done();
    },
  });
  return { log: pino({ level, base: null, timestamp: false }, sink), lines };
}

afterEach(() => {
  vi.useRealTimers();
});

test('logs one line per code and second, with the number of rejections since the last', () => {
  vi.useFakeTimers();
  const { log, lines } = logOf('warn');
  const logger = new WarningLogger(log);
  const [one, other] = ['c-1', 'c-2'].map((id) => ({ id, role: 'crawler' }) as Connection) as [
    Connection,
    Connection,
  ];
  const details = {
    code: 'SCHEMA_VIOLATION',
    type: 'heartbeat',
    line: 7,
    issues: [{ path: 'data.activeJobs', code: 'too_small', message: 'expected number' }],
  } as const;
  logger.recordRejected(one, 'SCHEMA_VIOLATION', 1, details);
  for (let count = 0; count < 1000; count++) logger.recordRejected(one, 'SCHEMA_VIOLATION', 2, undefined);
  logger.recordRejected(other, 'SCHEMA_VIOLATION', 1, details);
  logger.recordRejected(other, 'INVALID_JSON', 3, undefined);
  expect(lines).toHaveLength(2);
  expect(lines[0]).toEqual({
    level: 40,
    connection: 'c-1',
    role: 'crawler',
    code: 'SCHEMA_VIOLATION',
    count: 1,
    messageType: 'heartbeat',
    line: 7,
    issues: [{ path: 'data.activeJobs', code: 'too_small' }],
    msg: 'messages rejected',
  });
  expect(lines[1]).toMatchObject({ code: 'INVALID_JSON', count: 3, connection: 'c-2' });
  vi.advanceTimersByTime(1000);
  expect(lines[2]).toMatchObject({ code: 'SCHEMA_VIOLATION', count: 2001, connection: 'c-2' });
  logger.recordRejected(one, 'INVALID_JSON', 1, undefined);
  logger.recordRejected(one, 'INVALID_JSON', 1, undefined);
  logger.flush();
  vi.advanceTimersByTime(5000);
  expect(lines.slice(3).map(({ code, count }) => [code, count])).toEqual([
    ['INVALID_JSON', 1],
    ['INVALID_JSON', 1],
  ]);
});

test('a peer that connects again and again with a wrong version causes one line per reason and second', async () => {
  const { log, lines } = logOf('warn');
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const manager = new SocketManager({ socketPath, ...LIGHT }, { logger: log, validatesLocally: true });
  await manager.start();
  const startedAt = performance.now();
  for (let count = 0; count < 50; count++) {
    const peer = await Peer.connect(socketPath);
    peer.say('hello', { role: 'crawler', protocolVersion: '99.0.0' });
    await peer.closed;
  }
  await until(() => manager.getConnectionPool().size === 0);
  await manager.stop();
  const closed = lines.filter(({ msg }) => msg === 'connection closed');
  expect(closed.reduce((sum, { count }) => sum + Number(count), 0)).toBe(50);
  // With the first one, and that of the stop.
  expect(closed.length).toBeLessThanOrEqual(2 + (performance.now() - startedAt) / 1000);
});

test('a broker logs rejections of every kind, without content, and connections with their totals', async () => {
  const { log, lines } = logOf('debug');
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const options = { socketPath, ...LIGHT, auth: { tokens: { app: ['app-token-0123456789'] } } };
  const manager = new SocketManager(options, { logger: log, validatesLocally: true });
  await manager.start();
  onTestFinished(() => manager.stop());
  const peer = await Peer.connect(socketPath);
  peer.write(`${line(changed('heartbeat', { activeJobs: 'NotForYou1' }))}{"NotForYou1"\n`.repeat(30));
  peer.say('shutdown', { reason: 'NotForYou1' });
  await peer.settled();
  await peer.close();
  await until(() => manager.getConnectionPool().size === 0);
  await manager.stop();
  const rejected = lines.filter(({ msg }) => msg === 'messages rejected');
  const total = (code: string) =>
    rejected.filter((entry) => entry.code === code).reduce((sum, { count }) => sum + Number(count), 0);
  expect(['SCHEMA_VIOLATION', 'INVALID_JSON', 'UNAUTHORIZED'].map(total)).toEqual([30, 30, 1]);
  expect(rejected.find(({ code }) => code === 'SCHEMA_VIOLATION')).toMatchObject({
    messageType: 'heartbeat',
    issues: [{ path: 'data.activeJobs', code: 'invalid_type' }],
  });
  expect(lines).toContainEqual(
    expect.objectContaining({ level: 20, role: 'crawler', msg: 'connection opened' }),
  );
  expect(lines).toContainEqual(
    expect.objectContaining({
      msg: 'connection closed',
      messagesReceived: 61,
      messagesRejected: 61,
      bytesReceived: expect.any(Number),
      uptime: expect.any(Number),
    }),
  );
  expect(JSON.stringify(lines)).not.toContain('NotForYou1');
});
