import { createServer, get, request as httpRequest, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { MessageRegistry, SluiceError, type SluiceOptions } from 'sluice';
import { type FeedEvent, SluiceFeed } from 'sluice/feed';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { FrameRun } from '#src/delivery/frame-run.js';
import { FeedRun } from '#src/feed/feed-run.js';
import { type FeedSource, Feeds } from '#src/feed/feeds.js';
import type { MessageLog } from '#src/log/message-log.js';
import { NO_SEED } from '#src/messages/job-key.js';
import { Filter } from '#src/routing/filter.js';
import { startSlowBroker } from '../../support/admin.js';
import { LIGHT, startPlainBroker, type TestBroker, temporaryFolder, until } from '../../support/broker.js';
import { hello } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';
import { runOf } from '../../support/runs.js';
import { collectUncaught } from '../../support/uncaught.js';

interface ServerEvent {
  readonly name: string;
  readonly id: string | undefined;
  readonly data: { readonly [key: string]: unknown; readonly message?: Record<string, unknown> };
}

/** A stream of a feed, and its events so far. */
class Reader {
  readonly events: ServerEvent[] = [];
  /** The numbers of events that came together. */
  readonly updates: number[] = [];
  /** The latest ID, also one without data. */
  lastId: string | undefined;
  readonly response: Response;
  readonly #stopping: AbortController;
  isDone = false;

  constructor({ manager }: TestBroker, query: string, lastEventId?: string) {
    this.#stopping = new AbortController();
    const headers: Record<string, string> = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    const { signal } = this.#stopping;
    this.response = manager.feed(new Request(`http://page/stream?${query}`, { headers, signal }));
    onTestFinished(() => this.close());
  }

  async read(): Promise<void> {
    for await (const chunk of this.response.body ?? []) this.#take(Buffer.from(chunk).toString());
    this.isDone = true;
  }

  close(): void {
    this.#stopping.abort();
  }

  get messages(): Record<string, unknown>[] {
    return this.events.flatMap(({ data: { message } }) => (message === undefined ? [] : [message]));
  }

  #take(text: string): void {
    const before = this.events.length;
    for (const event of text.split('\n\n')) {
      const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(event)?.[1];
      this.lastId = field('id') ?? this.lastId;
      const data = field('data');
      if (data === undefined) continue;
      this.events.push({ name: field('event') ?? 'message', id: field('id'), data: JSON.parse(data) });
    }
    if (this.events.length > before) this.updates.push(this.events.length - before);
  }
}

function open(broker: TestBroker, query = '', lastEventId?: string): Reader {
  const reader = new Reader(broker, query, lastEventId);
  void reader.read();
  return reader;
}

const EPOCH = '0123456789abcdef';

/** A broker with nothing but a log that is not read, and one last value. */
function feedSource(
  log: { readonly epoch: string; readonly first: number; readonly end: number } | undefined,
  listen: FeedSource['listen'] = () => {},
): FeedSource {
  const registry = MessageRegistry.builtin();
  return {
    registry,
    delimiter: 10,
    // Only these members are used.
    log: log as MessageLog | undefined,
    filterOf: (data) => new Filter(registry, data, NO_SEED),
    lastMessages: () => [{ bytes: Buffer.from('{"last":1}\n'), count: 1 }],
    listen,
    onError: (error) => {
      throw error;
    },
  };
}

const progress = (jobId: string, processed: number) =>
  line({ ...VALID.job_progress, jobId, data: { ...VALID.job_progress.data, processed, total: undefined } });
const processedOf = ({ data }: Record<string, unknown>) => (data as { processed?: number }).processed;

describe('the feed', () => {
  test('has the latest message of each job, at most one per interval, with its sender', async () => {
    const broker = await startPlainBroker();
    const reader = open(broker, 'every=100ms&types=job_progress');
    const crawler = await broker.connect();
    crawler.write(hello('crawler-1'));
    for (let processed = 0; processed <= 1000; processed++) {
      crawler.write(progress(`job-${processed % 2}`, processed));
      if (processed % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await until(() => reader.messages.some((message) => processedOf(message) === 1000));
    await until(() => reader.messages.some((message) => processedOf(message) === 999));
    for (const count of reader.updates) expect(count).toBeLessThanOrEqual(2);
    expect(reader.messages.length).toBeLessThan(100);
    const latest = reader.events.at(-1)?.data;
    expect(latest).toMatchObject({
      crawlerId: 'crawler-1',
      from: expect.any(String),
      seq: expect.any(Number),
    });
  });

  test('selects by type, job and crawler, and never shows what applications send', async () => {
    const broker = await startPlainBroker();
    const readers = ['types=heartbeat', 'jobs=job-1,job-3', 'crawlers=b', ''].map((query) =>
      open(broker, `every=50&${query}`),
    );
    for (const name of ['a', 'b']) {
      const crawler = await broker.connect();
      crawler.write(hello(name) + line(VALID.heartbeat) + progress(`job-${name === 'a' ? 1 : 2}`, 1));
      await crawler.settled();
    }
    // What follows the assignment on its connection shows that the assignment has been through.
    (await broker.connect()).write(line(VALID.job_assignment) + line(VALID.heartbeat));
    const expected = [
      ['a heartbeat', 'b heartbeat', 'null heartbeat'],
      ['a job_progress'],
      ['b heartbeat', 'b job_progress'],
      ['a heartbeat', 'a job_progress', 'b heartbeat', 'b job_progress', 'null heartbeat'],
    ];
    // Each reader has an interval of its own.
    await until(() =>
      readers.every(({ messages }, index) => messages.length >= (expected[index]?.length ?? 0)),
    );
    const summaries = readers.map(({ events }) =>
      events.map(({ data }) => `${data.crawlerId} ${data.message?.type}`).sort(),
    );
    expect(summaries).toEqual(expected);
  });

  test('begins with the last values, and goes on without a gap', async () => {
    const broker = await startPlainBroker();
    const crawler = await broker.connect();
    crawler.write(hello('c') + progress('job-1', 1) + progress('job-1', 2) + progress('job-2', 3));
    await crawler.settled();
    const reader = open(broker, 'last=true&every=50');
    crawler.write(progress('job-1', 4));
    await until(() => reader.messages.some((message) => processedOf(message) === 4));
    expect(reader.messages.map(processedOf)).toEqual([2, 3, 4]);
  });

  test('with a durable log, goes on where it was, with the latest message of each job since', async () => {
    const broker = await startPlainBroker({ log: join(temporaryFolder(), 'log') });
    const crawler = await broker.connect();
    crawler.write(hello('c') + progress('job-1', 1));
    await crawler.settled();
    const first = open(broker, 'every=50');
    crawler.write(progress('job-1', 2) + progress('job-2', 3));
    await until(() => first.messages.length === 2);
    const { id } = first.events.at(-1) ?? {};
    expect(id).toMatch(/^[0-9a-f]{16}:3$/);
    first.close();
    await until(() => first.isDone);
    for (let processed = 4; processed < 500; processed++) crawler.write(progress('job-2', processed));
    crawler.write(progress('job-3', 500));
    await crawler.settled();
    const second = open(broker, 'every=50', id);
    crawler.write(progress('job-4', 501));
    await until(() => second.messages.some((message) => processedOf(message) === 501));
    expect(second.messages.map(processedOf).sort()).toEqual([499, 500, 501]);
    // What it refers to does not exist any more.
    const third = open(broker, 'every=50', 'ffffffffffffffff:7');
    await until(() => third.messages.length === 4);
    expect(third.events[0]).toMatchObject({ name: 'gap', data: { reason: 'epoch' } });
  });

  test('gets a position at the start, and after messages that are not for it', async () => {
    const broker = await startPlainBroker({ log: join(temporaryFolder(), 'log') });
    const first = open(broker, 'types=heartbeat');
    await until(() => first.lastId?.endsWith(':0') === true);
    const crawler = await broker.connect();
    for (let processed = 0; processed < 100; processed++) crawler.write(progress('job-1', processed));
    await crawler.settled();
    const second = open(broker, 'types=heartbeat', first.lastId);
    await until(() => second.lastId?.endsWith(':100') === true);
    expect(second.events).toEqual([]);
  });

  test('keeps the position of a reader that gets nothing', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const log = { epoch: EPOCH, first: 0, end: 3 };
    const reader = new Feeds(feedSource(log)).respond(new Request('http://page/')).body?.getReader();
    const read = async () => Buffer.from((await reader?.read())?.value ?? []).toString();
    expect(await read()).toBe(`retry: 1000\nid: ${EPOCH}:3\n\n`);
    log.end = 7;
    const next = read();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await next).toBe(`id: ${EPOCH}:7\n\n`);
    await reader?.cancel();
  });

  test('a stream that waits for the disk holds up no other one', async () => {
    const log = {
      epoch: EPOCH,
      first: 0,
      end: 10,
      whenMessageDurable: () => new Promise<void>(() => {}),
      reader: (offset: number) => ({ offset, close: async () => {} }),
    };
    let take: ((run: FrameRun) => void) | undefined;
    const source = feedSource(log, (onMessages) => {
      take = onMessages;
    });
    const feeds = new Feeds(source);
    onTestFinished(() => feeds.close());
    const [, current] = [5, 10].map((offset) => {
      const request = new Request('http://page/', { headers: { 'last-event-id': `${EPOCH}:${offset}` } });
      return feeds.respond(request).body?.getReader();
    });
    take?.(runOf(progress('job-1', 1)));
    let text = '';
    while (!text.includes('job-1')) text += Buffer.from((await current?.read())?.value ?? []);
    expect(text).toContain(`id: ${EPOCH}:10`);
  });

  test('begins with the last values if there is too much to read', async () => {
    const feeds = new Feeds(feedSource({ epoch: EPOCH, first: 0, end: 200_000 }));
    const request = new Request('http://page/', { headers: { 'last-event-id': `${EPOCH}:7` } });
    const reader = feeds.respond(request).body?.getReader();
    let text = '';
    while (!text.includes('data: {"last":1}')) text += Buffer.from((await reader?.read())?.value ?? []);
    expect(text).toContain('event: gap\ndata: {"reason":"behind"}\n\n');
    expect(text).toContain(`id: ${EPOCH}:200000\ndata: {"last":1}\n\n`);
    await reader?.cancel();
  });

  test('copies a message once for all streams, and only the latest of each job', () => {
    const run = runOf(Array.from({ length: 1000 }, (_, index) => progress('job-1', index)).join(''));
    const copied = vi.spyOn(run, 'message');
    let take: ((run: FrameRun) => void) | undefined;
    const source = feedSource(undefined, (onMessages) => {
      take = onMessages;
    });
    const feeds = new Feeds(source);
    for (let stream = 0; stream < 10; stream++) feeds.respond(new Request('http://page/'));
    take?.(run);
    expect(copied).toHaveBeenCalledTimes(1);
    feeds.close();
  });

  test('what unread streams hold is limited for all together: one that is not read for long makes room', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const size = 16 * 1024 * 1024;
    const part = { bytes: Buffer.alloc(size, '1'.repeat(1023).concat('\n')), count: size / 1024 };
    const lastMessages: FeedSource['lastMessages'] = (_, hasRoom) => (hasRoom(size) ? [part] : undefined);
    const feeds = new Feeds({ ...feedSource(undefined), lastMessages });
    onTestFinished(() => feeds.close());
    const openFeed = () => feeds.respond(new Request('http://page/?last=true'));
    const streams = Array.from({ length: 7 }, openFeed);
    expect(streams.map(({ status }) => status)).toEqual(Array(7).fill(200));
    expect(openFeed().status).toBe(503);
    vi.advanceTimersByTime(20_000);
    expect(openFeed().status).toBe(200);
    expect(openFeed().status).toBe(200);
    const textOf = async (stream: Response | undefined) => {
      const reader = stream?.body?.getReader();
      const chunks = [await reader?.read(), await reader?.read()];
      return chunks.map((chunk) => Buffer.from(chunk?.value ?? []).toString()).join('');
    };
    expect(await textOf(streams[0])).toContain(`event: dropped\ndata: {"count":${size / 1024}}`);
    expect(await textOf(streams[6])).toContain('data: 11');
  });

  test('makes an update in parts as they are read, with the latest of what is not sent yet', async () => {
    let take: ((run: FrameRun) => void) | undefined;
    const feeds = new Feeds(
      feedSource(undefined, (onMessages) => {
        take = onMessages;
      }),
    );
    onTestFinished(() => feeds.close());
    const body = feeds.respond(new Request('http://page/?every=50ms')).body?.getReader();
    const long = (job: string, text: string) =>
      progress(`job-${job}`, 1).replace('"data":{', `"data":{"currentItem":"${text}",`);
    take?.(runOf([...'abcdefghij'].map((job) => long(job, `old-${job} `.repeat(3000))).join('')));
    let text = '';
    const readUntil = async (found: string) => {
      while (!text.includes(found)) {
        const { value, done } = (await body?.read()) ?? { done: true };
        if (done) throw new Error('ended');
        text += Buffer.from(value ?? []);
      }
    };
    await readUntil('old-a');
    take?.(runOf(long('j', 'new-j')));
    await readUntil('new-j');
    expect(text).toContain('old-i');
    expect(text).not.toContain('old-j');
  });

  test('replaces line ends in one pass', () => {
    const run = new FeedRun(runOf(`{"type":"heartbeat"${'\r'.repeat(5000)}}\n`), MessageRegistry.builtin());
    const searches = vi.spyOn(Buffer.prototype, 'indexOf');
    onTestFinished(() => searches.mockRestore());
    run.data(0);
    expect(searches.mock.calls.length).toBeLessThan(10);
  });

  test('a type without a schema is a type of its own', async () => {
    const broker = await startPlainBroker({ validation: 'report' });
    const reader = open(broker, 'every=50');
    const crawler = await broker.connect();
    crawler.write('{"type":"a"}\n{"type":"b"}\n');
    await until(() => reader.messages.length === 2);
    expect(reader.messages.map(({ type }) => type)).toEqual(['a', 'b']);
  });

  test('a reader that takes nothing gets the latest of everything when it does, and holds up nobody', async () => {
    const broker = await startPlainBroker();
    const reader = new Reader(broker, 'every=50&types=job_*');
    const crawler = await broker.connect();
    for (let processed = 0; processed < 20_000; processed++)
      crawler.write(progress(`job-${processed % 7}`, processed));
    await crawler.settled();
    void reader.read();
    const isComplete = () => new Set(reader.messages.map(({ jobId }) => jobId)).size === 7;
    await until(() => isComplete() && reader.messages.some((message) => processedOf(message) === 19_999));
    expect(reader.messages.length).toBeLessThan(50);
  });

  test('drops what exceeds its memory, and says so', async () => {
    const broker = await startPlainBroker();
    const reader = new Reader(broker, 'every=60s&types=job_progress');
    const fast = new Reader(broker, 'every=50&types=job_progress');
    const crawler = await broker.connect();
    crawler.write(Array.from({ length: 25_000 }, (_, index) => progress(`job-${index}`, index)).join(''));
    await crawler.settled();
    void fast.read();
    await until(() => fast.messages.some((message) => processedOf(message) === 24_999));
    const dropped = fast.events
      .filter(({ name }) => name === 'dropped')
      .map(({ data }) => Number(data.count));
    expect(dropped.reduce((sum, count) => sum + count, 0) + fast.messages.length).toBe(25_000);
    reader.close();
  });

  test('white space in a message is not the end of an event', async () => {
    const broker = await startPlainBroker({ messageDelimiter: '\u0000' });
    const reader = open(broker, 'every=50');
    const crawler = await broker.connect();
    const text = JSON.stringify(VALID.heartbeat, undefined, 1).replaceAll('\n', '\r\n');
    crawler.write(`${text}\u0000`);
    await until(() => reader.messages.length === 1);
    expect(reader.messages[0]).toEqual(VALID.heartbeat);
  });

  test('says what is wrong with a request', async () => {
    const broker = await startPlainBroker();
    for (const [query, name] of [
      ['every=1ms', 'every'],
      ['every=soon', 'every'],
      ['last=yes', 'last'],
      ['types=', 'types'],
      [`jobs=${'x'.repeat(300)}`, 'jobs'],
      ['type=heartbeat', 'type'],
    ]) {
      const { response } = new Reader(broker, query ?? '');
      expect(response.status).toBe(400);
      expect(((await response.json()) as { error: string }).error).toContain(`${name}: `);
    }
  });

  test('has at most 100 streams, and needs a broker that runs', async () => {
    const broker = await startPlainBroker();
    const readers = Array.from({ length: 100 }, () => open(broker));
    expect(new Reader(broker, '').response.status).toBe(503);
    readers[0]?.close();
    expect(new Reader(broker, '').response.status).toBe(200);
    await broker.manager.stop();
    await until(() => readers.every(({ isDone }) => isDone));
    expect(() => broker.manager.feed(new Request('http://page/'))).toThrow(SluiceError);
  });
});

describe('/api/stream', () => {
  async function start(options: SluiceOptions = {}) {
    const broker = await startPlainBroker({ admin: '127.0.0.1:0', feed: true, ...options });
    return { ...broker, url: `http://${broker.manager.getStatus().admin}/api/stream` };
  }

  const status = (url: string, headers: Record<string, string> = {}) =>
    new Promise<number | undefined>((resolve, reject) => {
      const request = get(url, { headers }, ({ statusCode }) => {
        resolve(statusCode);
        request.destroy();
      });
      request.on('error', reject);
    });

  test('is off by default, and needs a token of the right role if there are tokens', async () => {
    const off = await start({ feed: false });
    expect(await status(off.url)).toBe(404);
    const tokens = { app: ['a-token-of-an-application'], crawler: ['a-token-of-a-crawler'] };
    const { url } = await start({ auth: { tokens } });
    expect(await status(url)).toBe(401);
    expect(await status(url, { authorization: 'Bearer a-token-of-a-crawler' })).toBe(401);
    expect(await status(url, { authorization: 'Bearer a-token-of-an-application' })).toBe(200);
    for (let attempt = 0; attempt < 60; attempt++) await status(url, { authorization: 'Bearer wrong' });
    expect([401, 429]).toContain(await status(url));
  });

  test('is for pages of the allowed origins, with a preflight', async () => {
    const { url } = await start({ feedOrigins: ['https://page.example'] });
    const ask = (method: string, origin: string) =>
      new Promise<Record<string, unknown>>((resolve, reject) => {
        const headers = { origin, 'access-control-request-private-network': 'true' };
        const request = httpRequest(url, { method, headers }, (response) => {
          resolve({ status: response.statusCode, ...response.headers });
          request.destroy();
        });
        request.on('error', reject).end();
      });
    expect(await ask('OPTIONS', 'https://page.example')).toMatchObject({
      status: 204,
      'access-control-allow-origin': 'https://page.example',
      'access-control-allow-headers': 'authorization, last-event-id',
      'access-control-allow-private-network': 'true',
    });
    expect(await ask('GET', 'https://page.example')).toMatchObject({
      status: 200,
      'content-type': 'text/event-stream',
      'access-control-allow-origin': 'https://page.example',
    });
    expect(await ask('GET', 'https://other.example')).not.toHaveProperty('access-control-allow-origin');
    expect((await ask('POST', 'https://page.example')).status).toBe(405);
  });

  test('while the broker starts, it is unavailable like all that needs a token, and SluiceFeed waits', async () => {
    const { manager, open } = await startSlowBroker({ ...LIGHT, admin: '127.0.0.1:0', feed: true });
    const base = `http://${manager.getStatus().admin}`;
    for (const [method, path] of [
      ['GET', '/api/stream'],
      ['GET', '/api/tail'],
      ['POST', '/api/messages'],
    ] as const) {
      const reply = await fetch(base + path, { method });
      expect([reply.status, await reply.json()]).toEqual([503, { error: 'the broker is starting' }]);
    }
    const states: string[] = [];
    const feed = new SluiceFeed(`${base}/api/stream`, () => {}, { onState: (state) => states.push(state) });
    onTestFinished(() => feed.close());
    await until(() => states.length > 0);
    expect(states).toEqual(['waiting']);
    await open();
    await until(() => states.includes('open'));
  });

  test('SluiceFeed reads it, and goes on after the broker has restarted', async () => {
    const options = { log: join(temporaryFolder(), 'log'), socketPath: join(temporaryFolder(), 's') };
    const first = await start(options);
    const events: FeedEvent[] = [];
    const states: string[] = [];
    const feed = new SluiceFeed(first.url, (event) => events.push(event), {
      types: ['job_progress'],
      every: '50ms',
      onState: (state) => states.push(state),
    });
    onTestFinished(() => feed.close());
    await until(() => states.includes('open'));
    const crawler = await first.connect();
    crawler.write(hello('c') + progress('job-1', 1));
    await until(() => events.length === 1);
    expect(events[0]).toMatchObject({ crawlerId: 'c', message: { jobId: 'job-1' } });
    const { port } = new URL(first.url);
    await first.manager.stop();
    const second = await start({ ...options, admin: `127.0.0.1:${port}` });
    const again = await second.connect();
    again.write(hello('c') + progress('job-2', 2));
    await until(() => events.length === 2);
    expect(states).toEqual(['open', 'waiting', 'open']);
    feed.close();
    await until(() => states.at(-1) === 'closed');
    const rejected = await new Promise<Error | undefined>((resolve) => {
      new SluiceFeed(`${first.url}?no=1`, () => {}, {
        onState: (state, error) => state === 'closed' && resolve(error),
      });
    });
    expect(rejected?.message).toContain('no: unknown parameter');
  });
});

describe('SluiceFeed', () => {
  /** A server whose streams begin with these data and stay open, and the streams that are open. */
  async function serve(...data: readonly string[]) {
    const streams = new Set<ServerResponse>();
    const server = createServer((_, response) => {
      streams.add(response);
      response.on('close', () => streams.delete(response));
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(data.map((text) => `data: ${text}\n\n`).join(''));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    return { streams, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
  }

  const numbers = ['{"seq":1}', '{"seq":2}', '{"seq":3}'];

  test('reports what a callback throws, and goes on with the next event of the same stream', async () => {
    const { streams, url } = await serve(...numbers);
    const uncaught = collectUncaught();
    const states: string[] = [];
    const feed = new SluiceFeed(
      url,
      ({ seq }) => {
        throw new Error(`no ${seq}`);
      },
      {
        onState: (state) => {
          states.push(state);
          throw new Error(state);
        },
      },
    );
    onTestFinished(() => feed.close());
    await until(() => uncaught.length === 4);
    expect(uncaught).toEqual(['open', 'no 1', 'no 2', 'no 3']);
    expect(states).toEqual(['open']);
    expect(streams.size).toBe(1);
  });

  test('selects no ID with a comma, which would stand for several', () => {
    for (const name of ['types', 'jobs', 'crawlers'])
      expect(() => new SluiceFeed('http://127.0.0.1:1/', () => {}, { [name]: ['eu,42'] }).close()).toThrow(
        `${name}: an entry must not have a comma`,
      );
  });

  test('emits nothing after it was closed in a callback', async () => {
    const { url } = await serve(...numbers);
    const seen: number[] = [];
    await new Promise<void>((resolve) => {
      const feed: SluiceFeed = new SluiceFeed(
        url,
        ({ seq }) => {
          seen.push(seq);
          feed.close();
        },
        { onState: (state) => state === 'closed' && resolve() },
      );
    });
    expect(seen).toEqual([1]);
  });

  test('has no connection while its page is hidden, if it can go on', async () => {
    const page = Object.assign(new EventTarget(), { hidden: false });
    vi.stubGlobal('document', page);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => {
      vi.useRealTimers();
      vi.unstubAllGlobals();
    });
    const show = (hidden: boolean) => {
      page.hidden = hidden;
      page.dispatchEvent(new Event('visibilitychange'));
    };
    /** Real time passes, too: sockets have no other clock. */
    const pass = async (isOver: () => boolean) => {
      while (!isOver()) await vi.advanceTimersByTimeAsync(100);
    };
    const { streams, url } = await serve(...numbers);
    const states: string[] = [];
    const received: number[] = [];
    const feed = new SluiceFeed(url, ({ seq }) => received.push(seq), {
      last: true,
      onState: (state) => states.push(state),
    });
    onTestFinished(() => feed.close());
    await pass(() => received.length === 3);
    show(true);
    await pass(() => states.length === 2 && streams.size === 0);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(states).toEqual(['open', 'waiting']);
    show(false);
    await pass(() => received.length === 6);
    expect(states).toEqual(['open', 'waiting', 'open']);
    expect(streams.size).toBe(1);
  });

  test('closes a stream that it cannot read', async () => {
    const { streams, url } = await serve('not JSON');
    const states: string[] = [];
    const feed = new SluiceFeed(url, () => {}, { onState: (state) => states.push(state) });
    onTestFinished(() => feed.close());
    await until(() => states.includes('waiting'));
    await until(() => streams.size === 0);
  });
});
