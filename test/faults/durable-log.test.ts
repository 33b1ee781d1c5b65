// Brokers with a durable log: what they confirm, and what they do when the disk hangs, fails or is used by another one.

import { once } from 'node:events';
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { SluiceOptions } from 'sluice';
import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Pipeline } from '#src/connection/pipeline.js';
import { FolderDisk } from '#src/log/disk.js';
import { readLog } from '#src/log/log-reader.js';
import { MessageLog } from '#src/log/message-log.js';
import { LogSubscription } from '#src/protocol/log-subscription.js';
import { startPlainBroker, temporaryFolder, until } from '../support/broker.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { line, VALID } from '../support/messages.js';
import { ledgerOf, numbered, numberedBlock } from '../support/numbered.js';
import type { Line, Peer } from '../support/peer.js';

const PING = '{"type":"ping","data":{}}\n';

async function startDurable(options: SluiceOptions = {}) {
  const folder = options.log ?? join(temporaryFolder(), 'log');
  const errors: unknown[] = [];
  const broker = await startPlainBroker({ log: folder, ...options });
  broker.manager.on('server_error', ({ error }) => errors.push(error));
  return { ...broker, folder, errors };
}

/** All stored messages, in order. */
async function storedIn(folder: string): Promise<string[]> {
  const lines: string[] = [];
  for await (const part of readLog(new FolderDisk(folder))) {
    if ('to' in part) throw new Error(`messages ${part.from} to ${part.to} are missing`);
    lines.push(...part.body.toString().split('\n').slice(0, -1));
  }
  return lines;
}

/** Numbered messages of at least this many bytes. They differ in their number alone: encoding each would take long. */
function bigMessages(bytes: number): (number: number) => string {
  const data = { ...VALID.job_progress.data, processed: 0, total: undefined, message: 'x'.repeat(bytes) };
  const text = line({ ...VALID.job_progress, jobId: 'producer-0', data });
  const [before, after] = text.split('"processed":0');
  return (number) => `${before}"processed":${number}${after}`;
}

describe('a pong', () => {
  test('is withheld until the messages before it are on disk; other answers are not', async () => {
    const disk = FaultyDisk.install();
    const { connect, folder } = await startDurable();
    const peer = await connect();
    peer.write(PING);
    await peer.next('pong');
    disk.hang();
    peer.write(`${line(VALID.heartbeat)}${PING}${PING}{"type":"nonsense"}\n`);
    await peer.next('error');
    expect(peer.pongs).toBe(1);
    const other = await connect();
    other.write(PING);
    // It has sent nothing that has to be stored.
    await other.next('pong');
    await peer.subscribe();
    expect(peer.pongs).toBe(1);
    disk.work();
    await until(() => peer.pongs === 3);
    expect(await storedIn(folder)).toEqual([JSON.stringify(VALID.heartbeat)]);
  });

  test('is sent to a peer that has closed its side', async () => {
    const disk = FaultyDisk.install();
    const { connect } = await startDurable();
    const peer = await connect();
    disk.hang();
    peer.socket.end(line(VALID.heartbeat) + PING);
    await until(() => disk.waiting > 0);
    disk.work();
    await peer.closed;
    expect(peer.pongs).toBe(1);
  });

  test('for each of many withheld ones is sent, and their number is bounded', async () => {
    const disk = FaultyDisk.install();
    const { connect, manager } = await startDurable({ maxConnectionBytes: 64 * 1024 });
    const peer = await connect();
    disk.hang();
    peer.write(line(VALID.heartbeat));
    const pings = 12_000;
    peer.write(PING.repeat(pings));
    const [connection] = [...manager.getConnectionPool().all()];
    await until(() => connection?.isPaused === true && connection.withheldPongs > 0);
    await until(() => connection?.lane.pendingBytes === 0);
    expect(connection?.withheldPongs).toBeLessThan(10_000);
    disk.work();
    await until(() => peer.pongs === pings);
  });

  test('for each of many withheld ones is forgotten with its peer, whose connection ends', async () => {
    const disk = FaultyDisk.install();
    const { connect, manager } = await startDurable({
      maxConnectionBytes: 64 * 1024,
      sendTimeout: 100,
      healthCheckInterval: 20,
    });
    const peer = await connect();
    disk.hang();
    peer.write(line(VALID.heartbeat) + PING.repeat(12_000));
    const pool = manager.getConnectionPool();
    const [connection] = pool.all();
    await until(() => (connection?.withheldPongs ?? 0) > 4096 && connection?.lane.pendingBytes === 0);
    await peer.close();
    // The broker's own ping to it fails.
    await until(() => connection?.state === 'disconnecting');
    disk.work();
    await until(() => pool.size === 0);
  });

  test('sends the log epoch in welcome', async () => {
    const { connect, manager, socketPath, folder } = await startDurable();
    const epochOf = async (peer: Awaited<ReturnType<typeof connect>>) => {
      peer.say('hello', { role: 'app' });
      return (await peer.next('welcome')).data.durable as { epoch: string };
    };
    const { epoch } = await epochOf(await connect());
    expect(epoch).toMatch(/^[0-9a-f]{16}$/);
    const peer = await connect();
    peer.write(line(VALID.heartbeat));
    await peer.settled();
    await manager.stop();
    const next = await startDurable({ socketPath, log: folder });
    expect(await epochOf(await next.connect())).toEqual({ epoch });
    const plain = await startPlainBroker();
    expect(await epochOf(await plain.connect())).toBeUndefined();
  });
});

test('stopping waits until everything is stored', async () => {
  const disk = FaultyDisk.install();
  const { connect, manager, folder } = await startDurable();
  const peer = await connect();
  disk.hang();
  peer.write(numberedBlock(0, 0, 100) + PING);
  await until(() => disk.waiting > 0);
  const stopped = manager.stop();
  await peer.next('error');
  disk.work();
  await stopped;
  await peer.closed;
  expect(peer.pongs).toBe(1);
  expect(await storedIn(folder)).toHaveLength(100);
});

test('stopping ends although the disk hangs, and the folder stays locked until it works', async () => {
  const disk = FaultyDisk.install();
  const { connect, manager, folder, errors } = await startDurable({ drainTimeout: 50 });
  const { close } = MessageLog.prototype;
  const spy = vi.spyOn(MessageLog.prototype, 'close').mockImplementation(function (this: MessageLog) {
    return close.call(this, 50);
  });
  onTestFinished(() => spy.mockRestore());
  const peer = await connect();
  disk.hang();
  peer.write(line(VALID.heartbeat) + PING);
  await until(() => disk.waiting > 0);
  await manager.stop();
  expect(manager.getStatus().state).toBe('stopped');
  expect(errors.map(String)).toEqual([
    expect.stringContaining('the disk does not answer'),
    expect.stringContaining('1 messages were not stored'),
  ]);
  await expect(startDurable({ log: folder })).rejects.toMatchObject({ code: 'LOG_IN_USE' });
  disk.work();
  await until(() => !existsSync(join(folder, 'lock')));
  await startDurable({ log: folder });
});

test('messages of all kinds of framing are stored as they are delivered', async () => {
  const { connect, folder } = await startDurable();
  const app = await (await connect()).subscribe();
  const crawler = await connect();
  const big = { ...VALID.job_failed, data: { ...VALID.job_failed.data, stackTrace: 'x'.repeat(5000) } };
  crawler.write(JSON.stringify(VALID.heartbeat) + JSON.stringify(big));
  crawler.write(`${line(VALID.job_progress)}\r\n\n\ufeff${line(VALID.job_started)}{"type":"nonsense"}\n`);
  crawler.write(line(big).repeat(3));
  // Messages for crawlers contain tokens.
  const sender = await connect();
  sender.say('hello', { role: 'app' });
  sender.write(line(VALID.job_assignment));
  await crawler.settled();
  await sender.settled();
  await app.count(8);
  const delivered = app.lines.filter((text) => !/^\{"type":"(subscribed|pong)"/.test(text));
  expect(delivered).toHaveLength(7);
  expect(await storedIn(folder)).toEqual(delivered);
});

test('excluded types are not stored; the others are', async () => {
  const { connect, folder } = await startDurable({ logExcludedTypes: ['heartbeat', 'job_s*'] });
  const app = await (await connect()).subscribe();
  const crawler = await connect();
  const { heartbeat, job_started, job_progress, job_request } = VALID;
  crawler.write(
    [heartbeat, job_progress, job_started, job_progress, job_request, heartbeat].map(line).join(''),
  );
  await crawler.settled();
  await app.count(7);
  expect(await storedIn(folder)).toEqual(
    [job_progress, job_progress, job_request].map((m) => JSON.stringify(m)),
  );
});

describe('a disk that hangs', () => {
  test('stops reading once much is waiting for it; nobody is closed, and nothing is lost', async () => {
    const disk = FaultyDisk.install();
    const { connect, manager, folder } = await startDurable({ maxBufferedBytes: 1024 * 1024 * 1024 });
    const peer = await connect();
    disk.hang();
    const message = bigMessages(100_000);
    // Some megabytes more than the bound below.
    const count = 480;
    for (let number = 0; number < count; number++) peer.write(message(number));
    await until(() => manager.getMetrics().flow.isPaused);
    const { pendingBytes } = manager.getMetrics().durableLog ?? { pendingBytes: 0 };
    // What was read before the pause comes on top.
    expect(pendingBytes).toBeGreaterThan(32 * 1024 * 1024);
    expect(pendingBytes).toBeLessThan(44 * 1024 * 1024);
    disk.work();
    await peer.settled();
    expect(manager.getMetrics().flow.isPaused).toBe(false);
    expect(ledgerOf({ lines: await storedIn(folder) }).faults(0, count)).toEqual([]);
    await until(() => manager.getMetrics().memory.heldBytes === 0);
  });

  test('for long: the broker is not healthy, and pings peers that wait', async () => {
    const disk = FaultyDisk.install();
    const { connect, manager, errors } = await startDurable({ healthCheckInterval: 20 });
    const peer = await connect();
    disk.hang();
    peer.write(line(VALID.heartbeat) + PING);
    await until(() => disk.waiting > 0);
    await peer.next('ping');
    expect(manager.isHealthy()).toBe(true);
    const real = performance.now.bind(performance);
    const now = vi.spyOn(performance, 'now').mockImplementation(() => real() + 11_000);
    onTestFinished(() => now.mockRestore());
    await until(() => !manager.isHealthy());
    await until(() => errors.length > 0);
    expect(errors).toEqual([expect.objectContaining({ code: 'LOG_UNAVAILABLE' })]);
    now.mockRestore();
    disk.work();
    await peer.next('pong');
    expect(manager.isHealthy()).toBe(true);
  });
});

describe('a disk that fails', () => {
  test('for a while: nothing is confirmed meanwhile, and everything is stored once it works', async () => {
    const disk = FaultyDisk.install();
    const { connect, manager, folder, errors } = await startDurable();
    const app = await (await connect()).subscribe();
    const peer = await connect();
    peer.write(numberedBlock(0, 0, 10));
    await peer.settled();
    disk.fail();
    peer.write(numberedBlock(0, 10, 20) + PING);
    await until(() => !manager.isHealthy());
    expect(errors).toEqual([expect.objectContaining({ code: 'LOG_UNAVAILABLE' })]);
    expect(String(errors[0])).toContain('EIO');
    const before = peer.pongs;
    // Live subscribers do not wait for the disk.
    await until(() => ledgerOf(app).total === 20);
    disk.work();
    await until(() => peer.pongs > before);
    expect(manager.isHealthy()).toBe(true);
    const lines = await storedIn(folder);
    expect(ledgerOf({ lines }).faults(0, 20)).toEqual([]);
  });

  test('pass: much is forwarded without being stored, and its senders send it again, and nothing else', async () => {
    const disk = FaultyDisk.install();
    const { connect, manager, socketPath, folder } = await startDurable({ logFailure: 'pass' });
    const app = await (await connect()).subscribe({ overflow: 'block' });
    const client = new SluiceClient({
      socketPath,
      // Only then, it has a session.
      hello: { role: 'crawler', crawlerId: 'crawler-1' },
      maxOutboxBytes: 1 << 30,
      reconnect: { initialDelay: 5 },
    });
    onTestFinished(() => void client.close(0));
    await client.connect();
    disk.fail();
    const message = bigMessages(200_000);
    // More than may wait for the disk.
    const count = 175;
    for (let number = 0; number < count; number++) client.publishRaw(message(number));
    // The answer to its subscription, and all messages, none of which is stored.
    await app.count(1 + count);
    expect(ledgerOf(app).total).toBe(count);
    expect(manager.getMetrics().durableLog?.messagesPassed).toBeGreaterThan(0);
    expect(client.statistics.confirmed).toBe(0);
    const lost = once(client, 'disconnected');
    // Many messages still wait for the disk when the client connects again.
    disk.syncDelay = 50;
    disk.work();
    const [{ error }] = await lost;
    expect(error).toMatchObject({ code: 'LOG_UNAVAILABLE' });
    await client.flush();
    expect(ledgerOf({ lines: await storedIn(folder) }).faults(0, count)).toEqual([]);
  });
});

test('subscribers of the log that do not read hold up nobody, however many they are', async () => {
  const { connect, manager } = await startDurable({ maxBufferedBytes: '1M' });
  for (let count = 0; count < 4; count++) {
    const reader = await (await connect()).subscribe({ from: 'first' });
    reader.socket.pause();
  }
  const app = await (await connect()).subscribe({ overflow: 'block' });
  const peer = await connect();
  const data = { ...VALID.job_progress.data, message: 'x'.repeat(50_000) };
  const count = 100;
  for (let sent = 0; sent < count; sent++) {
    peer.write(line({ ...VALID.job_progress, data }));
    // The answer to its subscription, and the messages.
    await app.count(1 + sent + 1);
  }
  await peer.settled();
  expect(manager.getMetrics().durableLog?.end).toBe(count);
});

describe('a log without room, whose messages a cursor has not read', () => {
  const SMALL = { logKeep: 'unread', logMaxBytes: '1M', logSegmentBytes: '64k' } as const;
  const numberedBig = bigMessages(50_000);

  /** A subscriber with a cursor at the beginning, which it moves only when told. */
  async function readerOf(connect: () => Promise<Peer>): Promise<Peer> {
    return (await connect()).subscribe({
      id: 'a',
      cursor: 'slow',
      ack: 'manual',
      from: 'first',
      types: ['none'],
    });
  }

  /** Moves the cursor to each position that its reader gets. */
  async function acknowledgeUntil(reader: Peer, isOver: () => boolean): Promise<void> {
    let acknowledged = 0;
    while (!isOver()) {
      const positions = reader.lines.filter((text) => text.startsWith('{"type":"position"'));
      const latest = positions.at(-1);
      if (positions.length > acknowledged && latest !== undefined)
        reader.say('ack', { id: 'a', position: (JSON.parse(latest) as Line).data.position });
      acknowledged = positions.length;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  test('removes them anyway by default, and reports a gap to the reader', async () => {
    const { connect, manager } = await startDurable(SMALL);
    const reader = await readerOf(connect);
    await reader.close();
    const peer = await connect();
    for (let number = 0; number < 60; number++) peer.write(numberedBig(number));
    await peer.settled();
    const { first = 0, end } = manager.getMetrics().durableLog ?? {};
    expect(first).toBeGreaterThan(0);
    expect(end).toBe(60);
    const next = await readerOf(connect);
    const { data } = await next.next('gap');
    expect(data).toMatchObject({ id: 'a', reason: 'removed' });
    expect(String(data.to)).toMatch(new RegExp(`:${first}$`));
  });

  test('reject: rejects new ones, until it has', async () => {
    const { connect, manager } = await startDurable({ ...SMALL, logFull: 'reject' });
    const reader = await readerOf(connect);
    const peer = await connect();
    let number = 0;
    const isFull = () => peer.errors.includes('LOG_FULL');
    while (!isFull()) {
      peer.write(numberedBig(number++));
      // Not more than the broker reads, which it may stop when the log is full.
      await until(() => isFull() || !peer.socket.writableNeedDrain);
    }
    await until(() => Object.keys(manager.getMetrics().protocol.rejected).includes('LOG_FULL'));
    expect(manager.getMetrics().durableLog?.first).toBe(0);
    expect(manager.isHealthy()).toBe(true);
    // Those that were accepted before are confirmed once there is room for them.
    await Promise.all([peer.settled(), acknowledgeUntil(reader, () => peer.pongs > 0)]);
    const rejected = manager.getMetrics().protocol.rejected.LOG_FULL ?? 0;
    expect(manager.getMetrics().durableLog?.end).toBe(number - rejected);
    expect(manager.getMetrics().durableLog?.first).toBeGreaterThan(0);
  });

  test('block: reads no more, until it has; nothing is lost', async () => {
    const { connect, manager } = await startDurable({ ...SMALL, logFull: 'block' });
    const first = await readerOf(connect);
    const peer = await connect();
    // More than the log and what may wait for it.
    const count = 720;
    for (let number = 0; number < count; number++) peer.write(numberedBig(number));
    await until(() => manager.getMetrics().flow.isPaused);
    expect(manager.getMetrics().durableLog?.first).toBe(0);
    // Its reader may have to connect first.
    await first.close();
    const reader = await readerOf(connect);
    await Promise.all([peer.settled(), acknowledgeUntil(reader, () => peer.pongs > 0)]);
    expect(manager.getMetrics().durableLog?.end).toBe(count);
    expect(reader.messages.filter(({ type }) => type === 'gap')).toEqual([]);
  });

  test('block: does not read what others send who connect meanwhile, and they keep no reader out', async () => {
    const maxConnections = 6;
    const { connect, manager } = await startDurable({ ...SMALL, logFull: 'block', maxConnections });
    const first = await readerOf(connect);
    const peer = await connect();
    const count = 720;
    for (let number = 0; number < count; number++) peer.write(numberedBig(number));
    await until(() => manager.getMetrics().flow.isPaused);
    await first.close();
    await until(() => manager.getMetrics().protocol.subscriptions === 0);
    const { memory, protocol } = manager.getMetrics();
    // What precedes a message that has to wait is answered.
    const both = await connect();
    both.write(
      line({ type: 'subscribe', data: { id: 'b', types: ['job_started'], from: 'new' } }) + numbered(2, 0),
    );
    await both.next('subscribed');
    for (let visit = 0; visit < 20; visit++) (await connect()).socket.end(numbered(1, 0));
    const reader = await readerOf(connect);
    expect(manager.getMetrics().protocol.received).toBe(protocol.received);
    expect(manager.getMetrics().memory.heldBytes).toBe(memory.heldBytes);
    await Promise.all([peer.settled(), acknowledgeUntil(reader, () => peer.pongs > 0)]);
    // Of those who were not replaced, everything arrives.
    await until(() => manager.getMetrics().durableLog?.end === count + maxConnections - 2);
    expect(manager.getMetrics().protocol.rejected).toEqual({});
  });
});

test('a reader of the log is read while others are not, until it publishes messages; those are not lost', async () => {
  const { connect, manager } = await startDurable({
    logExcludedTypes: ['job_progress'],
    maxPendingBytes: '256k',
    healthCheckInterval: 20,
  });
  const [slow, reader, publisher] = [await connect(), await connect(), await connect()];
  await slow.subscribe({ overflow: 'block' });
  await reader.subscribe({ from: 'new', types: ['job_started'] });
  const connection = manager.getConnectionPool().all()[1];
  slow.socket.pause();
  for (let number = 0; !manager.getMetrics().flow.isPaused; number += 100) {
    publisher.write(numberedBlock(0, number, number + 100));
    await until(() => !publisher.socket.writableNeedDrain || manager.getMetrics().flow.isPaused);
  }
  // Messages to crawlers are in the way of no acknowledgement.
  reader.say('job_cancel', { job_id: 'job-unknown' });
  await reader.settled();
  expect(reader.errors).toEqual(['NO_RECIPIENT']);
  // Nor are long ones, what is rejected, and blanks between messages.
  const long = line({ ...VALID.job_cancel, note: 'x'.repeat(100_000) });
  const { pongs } = reader;
  reader.write(`${PING.trim()}\r\n${PING.trim()} \n\n${line({ type: 'unknown' })}${long}${PING}`);
  await until(() => reader.pongs === pongs + 3);
  expect(reader.errors).toEqual(['NO_RECIPIENT', 'UNKNOWN_TYPE', 'NO_RECIPIENT']);
  // If there is no memory for them, they wait for it, with what follows.
  const room = vi.spyOn(Pipeline.prototype, 'hasRoomInPause', 'get').mockReturnValue(false);
  onTestFinished(() => room.mockRestore());
  reader.write(PING + line(VALID.job_cancel) + PING);
  await until(() => reader.pongs === pongs + 4);
  await until(() => connection?.isPaused === true);
  room.mockRestore();
  await until(() => reader.pongs === pongs + 5);
  expect(connection?.isPaused).toBe(false);
  const { messagesReceived } = connection?.statistics ?? expect.unreachable();
  const count = 20_000;
  reader.write(numberedBlock(1, 0, count));
  await until(() => connection?.isPaused === true);
  expect(connection?.statistics.messagesReceived).toBe(messagesReceived);
  slow.socket.resume();
  await reader.settled();
  await slow.settled();
  expect(ledgerOf(slow).faults(1, count)).toEqual([]);
});

describe('a folder', () => {
  test('is used by one broker at a time', async () => {
    const { folder, manager } = await startDurable();
    await expect(startDurable({ log: folder })).rejects.toMatchObject({ code: 'LOG_IN_USE' });
    await manager.stop();
    expect(readdirSync(folder)).not.toContain('lock');
    await startDurable({ log: folder });
  });

  test('whose lock is removed is locked again', async () => {
    const { folder } = await startDurable();
    rmSync(join(folder, 'lock'));
    await until(() => existsSync(join(folder, 'lock')));
    await expect(startDurable({ log: folder })).rejects.toMatchObject({ code: 'LOG_IN_USE' });
  });

  test('that another process has locked makes the broker unhealthy, and stays locked', async () => {
    const { folder, manager, errors } = await startDurable();
    const other = createServer((socket) => socket.destroy());
    onTestFinished(() => void other.close());
    await once(other.listen(join(folder, 'other')), 'listening');
    renameSync(join(folder, 'other'), join(folder, 'lock'));
    await until(() => !manager.isHealthy());
    expect(errors).toMatchObject([{ code: 'LOG_IN_USE' }]);
    await manager.stop();
    await expect(startDurable({ log: folder })).rejects.toMatchObject({ code: 'LOG_IN_USE' });
  });

  test('that cannot be used is an error, and the broker can be started with another one', async () => {
    await expect(startDurable({ log: '/dev/null/log' })).rejects.toMatchObject({ code: 'LOG_UNUSABLE' });
  });

  test.each(['ENOSPC', 'EMFILE'])('that cannot be used now (%s) is no invalid option', async (code) => {
    const error = Object.assign(new Error(`${code}: mkdir`), { code, syscall: 'mkdir' });
    const create = vi.spyOn(FolderDisk, 'create').mockRejectedValue(error);
    onTestFinished(() => create.mockRestore());
    await expect(startDurable()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE', category: 'delivery' });
  });
});

test('a cursor from before the first message is valid after a restart', async () => {
  const { connect, manager, folder } = await startDurable();
  const subscription = { id: 'all', cursor: 'reports', from: 'first' };
  await (await connect()).subscribe(subscription);
  await manager.stop();
  const next = await startDurable({ log: folder });
  const peer = await next.connect();
  await peer.subscribe(subscription);
  peer.write(line(VALID.heartbeat));
  await peer.next('heartbeat');
  expect(peer.messages.filter(({ type }) => type === 'gap')).toEqual([]);
});

test('an acknowledgement visits no subscriptions of others, and is rejected if it is not about a cursor of its peer', async () => {
  const { connect, manager } = await startDurable();
  const others = await connect();
  for (let number = 0; number < 60; number++) {
    others.say('subscribe', { id: `${number}`, cursor: `c${number}`, ack: 'manual' });
  }
  await others.settled();
  const peer = await connect();
  await peer.subscribe({ id: 'manual', cursor: 'm', ack: 'manual', from: 'first' });
  await peer.subscribe({ id: 'auto', cursor: 'a' });
  await peer.subscribe({ id: 'without' });
  peer.write(line(VALID.heartbeat));
  const position = String((await peer.next('position')).data.position);
  await until(() => peer.messages.some(({ type, data }) => type === 'position' && data.id === 'manual'));
  const visits = vi.spyOn(LogSubscription.prototype, 'connection', 'get');
  onTestFinished(() => visits.mockRestore());
  const ids = ['manual', 'auto', 'without', '0', 'unknown'];
  for (const id of ids) peer.say('ack', { id, position });
  peer.say('ack', { id: 'manual', position: `${position}0` });
  await peer.settled();
  expect(visits.mock.calls.length).toBe(0);
  expect(peer.messages.flatMap(({ data }) => data?.issues ?? [])).toMatchObject([
    { path: 'data.id', message: expect.stringContaining('ack manual') },
    ...Array.from({ length: 3 }, () => ({ path: 'data.id', message: expect.stringContaining('cursor') })),
    { path: 'data.position' },
  ]);
  const cursors = manager.getMetrics().durableLog?.cursors;
  expect(cursors?.find(({ name }) => name === 'm')).toEqual({ name: 'm', behind: 0 });
});

test('a stored message can be read by its number', async () => {
  const { connect, folder } = await startDurable();
  const peer = await connect();
  for (let number = 0; number < 5; number++) {
    peer.write(numbered(0, number));
    await peer.settled();
  }
  const lines = await storedIn(folder);
  expect(ledgerOf({ lines }).faults(0, 5)).toEqual([]);
});
