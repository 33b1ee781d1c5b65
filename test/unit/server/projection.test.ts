import { join } from 'node:path';
import { pino } from 'pino';
import { type MessageEvent, type SluiceOptions, SocketManager, SocketServer } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { temporaryFolder } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

const FIELDS = ['jobId', 'data.processed', 'data.total'];
const logger = pino({ level: 'silent' });
const dependencies = { logger, validatesLocally: true };
const settings = { ...dependencies, defaultHandlers: false };
const newOptions = (options: SluiceOptions = {}): SluiceOptions => ({
  socketPath: join(temporaryFolder(), 's.sock'),
  workers: { threads: 1 },
  ...options,
});

/** Starts a server, sends messages and returns what the handlers read, with the number of parsed messages. */
async function exchange(server: SocketServer | SocketManager, text: string): Promise<{ parsed: number }> {
  const { socketPath = '' } = server instanceof SocketServer ? server.manager.options : server.options;
  await server.start();
  onTestFinished(() => server.stop());
  const peer = await Peer.connect(socketPath);
  onTestFinished(() => peer.close());
  const parse = vi.spyOn(JSON, 'parse');
  onTestFinished(() => parse.mockRestore());
  peer.write(text);
  await peer.settled();
  const parsed = parse.mock.calls.filter(([json]) => json.includes('"job_progress"')).length;
  parse.mockRestore();
  return { parsed };
}

const progress = (processed: number) =>
  line({ ...VALID.job_progress, data: { ...VALID.job_progress.data, processed } });
const read = (event: MessageEvent) => FIELDS.map((path) => event.get(path));

describe('the fields of handlers', () => {
  test.each<[string, SluiceOptions, boolean]>([
    ['inline', {}, true],
    ['in workers', { inlineBytes: 0 }, false],
    ['without patterns', { patterns: 'off' }, false],
  ])('are read without parsing: %s', async (_, options, validatesLocally) => {
    const server = new SocketServer(newOptions(options), { ...settings, validatesLocally });
    const seen: unknown[] = [];
    server.router.registerHandler('job_progress', {
      fields: FIELDS,
      handle: (event) => seen.push(read(event)),
    });
    const { parsed } = await exchange(server, progress(1) + progress(2));
    expect(seen).toEqual([
      ['job-1', 1, 10],
      ['job-1', 2, 10],
    ]);
    expect(parsed).toBe(0);
  });

  test('apply to all types of crawlers if they are those of *', async () => {
    const server = new SocketServer(newOptions(), settings);
    const seen: unknown[] = [];
    server.router.registerHandler('*', { fields: FIELDS, handle: (event) => seen.push(read(event)) });
    const { parsed } = await exchange(server, progress(1) + line(VALID.heartbeat));
    expect(seen).toEqual([
      ['job-1', 1, 10],
      [undefined, undefined, undefined],
    ]);
    expect(parsed).toBe(0);
  });

  test('of a handler that is registered later are read by parsing, until the next start', async () => {
    const server = new SocketServer(newOptions(), settings);
    await server.start();
    const seen: unknown[] = [];
    server.router.registerHandler('job_progress', {
      fields: FIELDS,
      handle: (event) => seen.push(read(event)),
    });
    const peer = await Peer.connect(server.manager.options.socketPath ?? '');
    const parse = vi.spyOn(JSON, 'parse');
    peer.write(progress(1));
    await peer.settled();
    expect(parse.mock.calls.some(([json]) => json.includes('"job_progress"'))).toBe(true);
    parse.mockRestore();
    await peer.close();
    await server.stop();
    expect(await exchange(server, progress(2))).toEqual({ parsed: 0 });
    expect(seen).toEqual([
      ['job-1', 1, 10],
      ['job-1', 2, 10],
    ]);
  });

  test('are given back with the handler, and checked before it is registered', () => {
    const server = new SocketServer(newOptions(), settings);
    const many = Array.from({ length: 16 }, (_, index) => `f${index}`);
    const handler = { fields: many, handle: () => {} };
    const other = { fields: ['g'], handle: () => {} };
    server.router.registerHandler('job_progress', handler);
    expect(() => server.router.registerHandler('job_progress', other)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
    expect(server.router.unregisterHandler('job_progress', other)).toBe(false);
    expect(server.router.unregisterHandler('job_progress', handler)).toBe(true);
    server.router.registerHandler('job_progress', other);
  });
});

describe('projectFields', () => {
  test('is for listeners of the event message, before the start', async () => {
    const manager = new SocketManager(newOptions(), dependencies);
    manager.projectFields('job_progress', FIELDS);
    const seen: unknown[] = [];
    manager.on('message', (event) => seen.push(read(event)));
    expect(await exchange(manager, progress(7))).toEqual({ parsed: 0 });
    expect(seen).toEqual([['job-1', 7, 10]]);
    expect(() => manager.projectFields('job_progress', FIELDS)).toThrow(
      expect.objectContaining({ code: 'ALREADY_RUNNING' }),
    );
  });

  test('rejects too many fields', () => {
    const manager = new SocketManager(newOptions(), dependencies);
    const many = Array.from({ length: 17 }, (_, index) => `f${index}`);
    expect(() => manager.projectFields('*', many)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });
});
