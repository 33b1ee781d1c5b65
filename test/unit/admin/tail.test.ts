import { once } from 'node:events';
import { request } from 'node:http';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { TailMessage } from '#src/feed/tail.js';
import { type AdminBroker, ask, sharePlainAdminBroker, startPlainAdminBroker } from '../../support/admin.js';
import { changed, line, VALID } from '../../support/messages.js';

const shared = sharePlainAdminBroker({ feed: true });
const TOKENS = {
  crawler: ['crawler-token-0123456789'],
  app: ['app-token-0123456789abc'],
  monitor: ['monitor-token-0123456789'],
};

/** Opens a tail. The function it returns waits for the next event of a kind. */
async function openTail({ adminPath: socketPath }: AdminBroker, query = '') {
  const sent = request({ socketPath, path: `/api/tail${query}` }).end();
  onTestFinished(() => void sent.destroy());
  const [reply] = await once(sent, 'response');
  const events: string[] = [];
  const arrivals = reply.setEncoding('utf8')[Symbol.asyncIterator]();
  let rest = '';
  const next = async (kind: 'data' | 'event: left_out'): Promise<unknown> => {
    for (;;) {
      const event = events.shift();
      if (event?.startsWith(kind)) return JSON.parse(event.slice(event.indexOf('data: ') + 6));
      if (event !== undefined) continue;
      const { value, done } = await arrivals.next();
      if (done) throw new Error('the stream has ended');
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop() ?? '';
      events.push(...blocks);
    }
  };
  return {
    reply,
    sent,
    message: async () => (await next('data')) as TailMessage,
    leftOut: async () => ((await next('event: left_out')) as { count: number }).count,
  };
}

describe('/api/tail', () => {
  test('has the messages that the filter selects, with secrets masked, and cut', async () => {
    const broker = shared();
    const crawler = await broker.connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    await crawler.next('welcome');
    const tail = await openTail(broker, '?types=job_*&crawlers=crawler-1');
    expect(tail.reply.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
    });
    const long = changed('job_progress', { message: 'password: hunter2', note: 'x'.repeat(5000) });
    crawler.write(line(VALID.heartbeat) + line(long) + line(VALID.job_progress));
    const first = await tail.message();
    expect(first).toMatchObject({
      at: expect.any(Number),
      connectionId: expect.any(String),
      crawlerId: 'crawler-1',
      type: 'job_progress',
      bytes: line(long).length - 1,
    });
    expect(first.text).not.toContain('hunter2');
    expect(first.text).toContain('***');
    expect(Buffer.byteLength(first.text)).toBeLessThanOrEqual(2048);
    expect((await tail.message()).text).toBe(JSON.stringify(VALID.job_progress));
  });

  test('sends no more messages than it may, and counts the others', async () => {
    const broker = shared();
    const crawler = await broker.connect();
    const tail = await openTail(broker, '?rate=5');
    crawler.write(line(VALID.heartbeat).repeat(200));
    await crawler.settled();
    // In the second in which they came, the rest: it has grown by a few at most.
    expect(await tail.leftOut()).toBeGreaterThan(150);
  });

  test('sends no more in any second, and spreads them over it while there are more', async () => {
    const broker = shared();
    const crawler = await broker.connect();
    // Whole, so that sums are exact.
    const start = Math.ceil(performance.now());
    const clock = vi.spyOn(performance, 'now').mockReturnValue(start);
    onTestFinished(() => clock.mockRestore());
    const tail = await openTail(broker, '?rate=5');
    const rounds = [
      [0, 'heartbeat'],
      [500, 'job_progress'],
      [999, 'job_progress'],
      [1000, 'job_started'],
      [1200, 'discovery'],
    ] as const;
    for (const [at, type] of rounds) {
      clock.mockReturnValue(start + at);
      crawler.write(line(VALID[type]).repeat(10));
      await crawler.settled();
    }
    const types: string[] = [];
    while (types.length < 7) types.push((await tail.message()).type);
    expect(types).toEqual([...Array(5).fill('heartbeat'), 'job_started', 'discovery']);
  });

  test('looks at no message without a tail', async () => {
    const broker = shared();
    const { sent } = await openTail(broker);
    const others = await Promise.all(Array.from({ length: 9 }, () => openTail(broker)));
    const { status, body } = await broker.get('/api/tail');
    expect([status, JSON.parse(body).error]).toEqual([503, expect.stringContaining('10 tails are open')]);
    for (const { sent: other } of [...others, { sent }]) other.destroy();
    await expect
      .poll(async () => {
        const again = await openTail(broker);
        again.sent.destroy();
        return again.reply.statusCode;
      })
      .toBe(200);
  });

  test.each([
    ['rate=0', 'rate: must be 1 to 100'],
    ['rate=101', 'rate: must be 1 to 100'],
    ['every=1s', 'every: unknown parameter'],
    ['types=', 'types: has an entry that is empty or too long, or too many'],
  ])('rejects %s', async (query, error) => {
    const { status, body } = await shared().get(`/api/tail?${query}`);
    expect([status, JSON.parse(body).error]).toEqual([400, expect.stringContaining(error)]);
  });

  test('is off unless the feed is on', async () => {
    const { get } = await startPlainAdminBroker();
    const { status, body } = await get('/api/tail');
    expect([status, JSON.parse(body)]).toEqual([404, { error: 'the tail is off: set the option feed' }]);
  });

  test('needs a token of someone who may read, if there are tokens', async () => {
    const broker = await startPlainAdminBroker({ feed: true, auth: { tokens: TOKENS } });
    const statusOf = async (token: string) => {
      const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
      const sent = request({ socketPath: broker.adminPath, path: '/api/tail', headers }).end();
      const [{ statusCode }] = await once(sent, 'response');
      sent.destroy();
      return statusCode;
    };
    for (const token of ['', 'wrong-token-0123456789', TOKENS.crawler[0] ?? ''])
      expect(await statusOf(token)).toBe(401);
    for (const [token = ''] of [TOKENS.app, TOKENS.monitor]) expect(await statusOf(token)).toBe(200);
    const posted = await ask(broker.adminPath, '/api/tail', { method: 'POST' });
    expect([posted.status, posted.headers.allow]).toEqual([405, 'GET']);
  });
});
