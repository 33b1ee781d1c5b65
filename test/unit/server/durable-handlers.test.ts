import { once } from 'node:events';
import { join } from 'node:path';
import { pino } from 'pino';
import {
  type DurableGap,
  type DurableHandler,
  type DurableMessage,
  type SluiceOptions,
  SocketServer,
} from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

function newServer(
  folder: string,
  options: SluiceOptions = {},
  logger = pino({ level: 'silent' }),
): SocketServer {
  return new SocketServer(
    { socketPath: join(folder, 's.sock'), log: join(folder, 'log'), workers: { threads: 1 }, ...options },
    { logger, validatesLocally: true },
  );
}

async function started(server: SocketServer): Promise<SocketServer> {
  await server.start();
  onTestFinished(() => server.stop());
  return server;
}

/** Stores messages, and resolves when they are durable. */
async function store(server: SocketServer, lines: string, crawlerId?: string): Promise<void> {
  const peer = await Peer.connect(server.manager.options.socketPath ?? '');
  if (crawlerId !== undefined) {
    peer.say('hello', { role: 'crawler', crawlerId });
    await peer.next('welcome');
  }
  peer.write(`${lines}{"type":"ping"}\n`);
  await peer.next('pong');
  await peer.close();
}

const job = (number: string): string => line({ ...VALID.job_started, jobId: `job ${number}` });
const jobIds = (messages: readonly DurableMessage[]): unknown[] =>
  messages.map((message) => String(message.get('jobId')).replace('job ', ''));

describe('a durable handler', () => {
  test('continues where it was, and gets what was stored while it was not registered', async () => {
    const folder = temporaryFolder();
    const handled: unknown[] = [];
    const handler: DurableHandler = {
      cursor: 'database',
      from: 'first',
      types: ['job_*'],
      handleBatch: (messages) => handled.push(...jobIds(messages)),
    };
    const first = await started(newServer(folder).registerDurableHandler(handler));
    await store(first, job('1') + line(VALID.heartbeat) + job('2'));
    await until(() => handled.length === 2);
    await first.stop();
    const second = await started(newServer(folder));
    await store(second, job('3') + job('4'));
    await second.stop();
    expect(handled).toEqual(['1', '2']);
    const third = await started(newServer(folder).registerDurableHandler(handler));
    await store(third, job('5'));
    await until(() => handled.length === 5);
    expect(handled).toEqual(['1', '2', '3', '4', '5']);
    await third.stop();
  });

  test('without a start gets new messages only, one by one, with all that is known of them', async () => {
    const folder = temporaryFolder();
    const before = await started(newServer(folder, { validation: 'report' }));
    await store(before, job('old'));
    await before.stop();
    const handled: DurableMessage[] = [];
    const server = await started(
      newServer(folder, { validation: 'report' }).registerDurableHandler({
        crawlerIds: ['c1'],
        handle: (message) => handled.push(message),
      }),
    );
    await store(server, job('of another'), 'c2');
    const startedAt = Date.now();
    await store(server, `${job('1')}{"type":"made_up","jobId":"2"}\n${line(VALID.discovery)}`, 'c1');
    await until(() => handled.length === 3);
    const [started1, madeUp, discovery] = handled as [DurableMessage, DurableMessage, DurableMessage];
    expect(started1.is('job_started') && started1.message.jobId).toBe('job 1');
    const { type, crawlerId, sequence, isValid, offset } = started1;
    expect({ type, crawlerId, sequence, isValid, offset }).toEqual({
      type: 'job_started',
      crawlerId: 'c1',
      sequence: 2,
      isValid: true,
      offset: 2,
    });
    expect(started1.position).toMatch(/^[0-9a-f]{16}:3$/);
    expect(started1.raw.toString()).toBe(job('1').trim());
    expect(started1.receivedAt.getTime()).toBeGreaterThanOrEqual(startedAt);
    expect(started1.connectionId).toBe(discovery.connectionId);
    expect([madeUp.type, madeUp.sequence, madeUp.isValid]).toEqual(['made_up', 3, false]);
    expect(madeUp.get('jobId')).toBe('2');
    expect(discovery.message).toEqual(VALID.discovery);
    expect(discovery.sequence).toBe(4);
  });

  test('that fails gets the same messages again, and later ones after them', async () => {
    const calls: unknown[][] = [];
    const failures: unknown[] = [];
    let failing = 2;
    const lines: Record<string, unknown>[] = [];
    const logger = pino({ level: 'error', base: null }, { write: (text) => lines.push(JSON.parse(text)) });
    const server = newServer(temporaryFolder(), {}, logger).registerDurableHandler({
      cursor: 'c',
      handleBatch: async (messages) => {
        calls.push(jobIds(messages));
        await null;
        if (failing-- > 0) throw new Error('the database is down');
      },
    });
    server.on('handler_error', ({ phase, durable, error }) =>
      failures.push([phase, jobIds(durable ?? []), String(error)]),
    );
    await started(server);
    await store(server, job('1') + job('2'));
    await store(server, job('3'));
    await until(() => calls.flat().length === 7);
    expect(calls).toEqual([['1', '2'], ['1', '2'], ['1', '2'], ['3']]);
    const failure = ['handleBatch', ['1', '2'], 'Error: the database is down'];
    expect(failures).toEqual([failure, failure]);
    await server.stop();
    expect(lines[0]).toMatchObject({ type: 'job_started', phase: 'handleBatch', isDurable: true, count: 1 });
    expect(lines.reduce((sum, { count }) => sum + Number(count), 0)).toBe(2);
    expect(server.getStatus().handlers.errors).toBe(2);
  });

  test('is waited for when the server stops, and not called again', async () => {
    const folder = temporaryFolder();
    const handled: unknown[] = [];
    let finish: () => void = () => {};
    const server = await started(
      newServer(folder).registerDurableHandler({
        cursor: 'c',
        handle: (message) => {
          handled.push(...jobIds([message]));
          return new Promise<void>((resolve) => {
            finish = resolve;
          });
        },
      }),
    );
    await store(server, job('1') + job('2'));
    await until(() => handled.length === 1);
    const stopping = server.stop();
    await once(server.manager, 'server_stopping');
    finish();
    await stopping;
    expect(handled).toEqual(['1']);
    await started(
      newServer(folder).registerDurableHandler({
        cursor: 'c',
        handleBatch: (messages) => handled.push(...jobIds(messages)),
      }),
    );
    await until(() => handled.length === 2);
    expect(handled).toEqual(['1', '2']);
  });

  test('learns of messages that are missing before it gets others', async () => {
    const folder = temporaryFolder();
    const before = await started(newServer(folder));
    await store(before, job('1'));
    await before.stop();
    const calls: (DurableGap | unknown[])[] = [];
    await started(
      newServer(folder).registerDurableHandler({
        from: { offset: '0123456789abcdef:7' },
        handleGap: (gap) => calls.push(gap),
        handleBatch: (messages) => calls.push(jobIds(messages)),
      }),
    );
    await until(() => calls.length === 2);
    const to = expect.stringMatching(/^[0-9a-f]{16}:0$/);
    expect(calls).toEqual([{ from: '0123456789abcdef:7', to, reason: 'epoch' }, ['1']]);
  });

  test('has its cursor for itself', async () => {
    const server = await started(
      newServer(temporaryFolder()).registerDurableHandler({ cursor: 'mine', handle: () => {} }),
    );
    const peer = await Peer.connect(server.manager.options.socketPath ?? '');
    onTestFinished(() => peer.close());
    peer.say('subscribe', { id: 's', cursor: 'mine' });
    const { data } = await peer.next('error');
    expect(data).toMatchObject({ issues: [{ path: 'data.cursor', code: 'conflict' }] });
  });

  test('is rejected if it is invalid', async () => {
    const handle = (): void => {};
    const server = newServer(temporaryFolder());
    const register = (handler: object) => () => server.registerDurableHandler(handler as DurableHandler);
    expect(register({})).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(register({ handle, handleBatch: handle })).toThrow('either handle or handleBatch');
    expect(register({ handle, from: { offset: 'nowhere' } })).toThrow('from');
    expect(register({ handle, cursor: '' })).toThrow('cursor');
    expect(register({ handle, types: [''] })).toThrow('types.0');
    expect(register({ handle, cursr: 'c' })).toThrow(/: cursr: unknown option; did you mean cursor\?$/);
    expect(register({ handle, foo: 'c' })).toThrow(/: foo: unknown option$/);
    server.registerDurableHandler({ handle, cursor: 'c' });
    expect(register({ handle, cursor: 'c' })).toThrow('belongs to another');
    const withoutLog = new SocketServer({ socketPath: join(temporaryFolder(), 's.sock') });
    expect(() => withoutLog.registerDurableHandler({ handle })).toThrow('needs the option log');
    await started(server);
    expect(register({ handle })).toThrow(expect.objectContaining({ code: 'ALREADY_RUNNING' }));
  });
});
