import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { LastValues } from '#src/routing/last-values.js';
import { sharePlainBroker, startPlainBroker, until } from '../../support/broker.js';
import type { Line, Peer } from '../../support/peer.js';

const progress = (processed: number) => ({ stage: 'fetching', entityType: 'issue', processed });
const heartbeat = (totalProcessed: number) => ({ activeJobs: 0, totalProcessed, systemStatus: 'idle' });

/** What a message is about, and its number. */
const summary = ({ type, jobId, job_id, data }: Line): string =>
  `${type} ${jobId ?? job_id ?? ''} ${data.processed ?? data.totalProcessed ?? ''}`;

/** Subscribes with `last`, and returns the messages that it begins with. */
async function lastValues(peer: Peer, data: object = {}): Promise<Line[]> {
  const before = peer.messages.length;
  peer.say('subscribe', { id: 'last', last: true, ...data });
  await peer.settled();
  // On a busy machine, the broker may ask whether the peer is still there.
  const messages = peer.messages.slice(before).filter(({ type }) => type !== 'ping');
  const at = messages.findIndex(({ type }) => type === 'subscribed');
  const count = Number(messages[at]?.data.lastValues);
  expect(messages.slice(0, at).map(({ type }) => type)).toEqual([]);
  return messages.slice(at + 1, at + 1 + count);
}

const shared = sharePlainBroker({ validation: 'report' });

describe('subscribe with last', () => {
  test('first sends the latest message of each job and the latest heartbeat, in the order of receipt', async () => {
    const { connect } = shared();
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-a' });
    crawler.say('heartbeat', heartbeat(1));
    crawler.say('job_progress', progress(1), { jobId: 'a-1' });
    crawler.say('job_progress', progress(2), { job_id: 'a-2' });
    crawler.say('discovery', { entityType: 'issue', entities: [] });
    crawler.say('job_progress', progress(3), { jobId: 'a-1' });
    crawler.say('heartbeat', heartbeat(2));
    crawler.say('job_completed', { success: true, finalCounts: {} }, { jobId: 'a-3' });
    await crawler.settled();
    const app = await connect();
    const values = await lastValues(app, { crawlerIds: ['crawler-a'] });
    expect(values.map(summary)).toEqual([
      'job_progress a-2 2',
      'job_progress a-1 3',
      'heartbeat  2',
      'job_completed a-3 ',
    ]);
    crawler.say('job_progress', progress(4), { jobId: 'a-1' });
    await app.next(({ data }) => data.processed === 4);
    expect(app.forwarded.map(summary)).toEqual([...values.map(summary), 'job_progress a-1 4']);
  });

  test('sends what the filter matches: types, jobs, crawlers, and types without a schema', async () => {
    const { connect } = shared();
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-b' });
    crawler.say('job_progress', progress(1), { jobId: 'b-1' });
    crawler.say('wiki_page', { processed: 2 }, { jobId: 'b-2' });
    crawler.say('heartbeat', heartbeat(3), { jobId: 'b-1' });
    await crawler.settled();
    const app = await connect();
    const summaries = async (data: object) => (await lastValues(app, data)).map(summary);
    expect(await summaries({ types: ['wiki_*'] })).toEqual(['wiki_page b-2 2']);
    expect(await summaries({ jobIds: ['b-1'] })).toEqual(['job_progress b-1 1', 'heartbeat b-1 3']);
    expect(await summaries({ types: ['job_*'], crawlerIds: ['crawler-b'] })).toEqual(['job_progress b-1 1']);
    expect(await summaries({ types: ['job_*'], crawlerIds: ['nobody'] })).toEqual([]);
    expect(await summaries({ types: ['presence', 'rejected'] })).toEqual([]);
  });

  test('sends the bytes as they were sent, and wraps them with meta', async () => {
    const { connect } = shared();
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-ü' });
    const line = `{ "data":{"processed":1e0,"entityType":"issue","stage":"fetching"},"jobId":"d-1","timestamp":"2026-01-01T00:00:00Z", "type":"job_progress","x":"ü😀"}`;
    crawler.write(`${line}\r\n`);
    await crawler.settled();
    const [welcome] = crawler.messages;
    const app = await connect();
    await lastValues(app, { jobIds: ['d-1'] });
    expect(app.lines).toContain(line);
    const [value] = await lastValues(app, { jobIds: ['d-1'], meta: true });
    expect(value).toEqual({
      from: welcome?.data.connectionId,
      crawlerId: 'crawler-ü',
      seq: 2,
      message: JSON.parse(line),
    });
    expect(app.lines.some((text) => text.endsWith(`"message":${line}}`))).toBe(true);
  });

  test('the messages of one connection count before its subscription', async () => {
    const { connect } = shared();
    const peer = await connect();
    const message = (processed: number) =>
      JSON.stringify({
        type: 'job_progress',
        timestamp: '2026-01-01T00:00:00Z',
        jobId: 'e-1',
        data: progress(processed),
      });
    const subscribe = '{"type":"subscribe","data":{"id":"x","last":true,"jobIds":["e-1"]}}';
    peer.write(`${message(1)}\n${message(2)}\n${subscribe}\n${message(3)}\n`);
    await peer.settled();
    expect(peer.forwarded.map(({ data }) => data.processed)).toEqual([2, 3]);
  });

  test('keeps no messages that were not forwarded', async () => {
    const { connect } = await startPlainBroker({ maxMessagesPerSecond: 2, minHeartbeatInterval: 60_000 });
    const crawler = await connect();
    for (let count = 1; count <= 2; count++) crawler.say('heartbeat', heartbeat(count));
    for (let count = 1; count <= 2; count++) crawler.say('job_progress', progress(count), { jobId: 'job-1' });
    await crawler.next('error');
    await crawler.settled();
    expect((await lastValues(await connect())).map(summary)).toEqual(['heartbeat  1']);
  });

  test('is not possible with a group, and without last values sends none', async () => {
    const { connect, socketPath } = await startPlainBroker({ maxLastValues: 0 });
    const peer = await connect();
    peer.say('job_progress', progress(1), { jobId: 'job-1' });
    peer.say('subscribe', { id: 'x', last: true, group: 'workers' });
    const { data } = await peer.next('error');
    expect([data.code, data.messageType]).toEqual(['RULE_VIOLATION', 'subscribe']);
    expect((data.issues as { path: string }[])[0]?.path).toBe('data.last');
    expect(await lastValues(peer)).toEqual([]);
    const client = new SluiceClient({ socketPath });
    onTestFinished(async () => void (await client.close()));
    await client.connect();
    await expect(client.subscribe({ last: true, group: 'workers' })).rejects.toThrow('last');
    const subscription = await client.subscribe({ last: true });
    expect(subscription.isEnded).toBe(false);
  });
});

describe('there is neither a gap nor a repeat', () => {
  test('between the last values and the live stream, while messages arrive', async () => {
    const { connect } = await startPlainBroker({ patterns: 'on' });
    const crawlers = await Promise.all([1, 2, 3].map(() => connect()));
    const sent = [0, 0, 0];
    let isPublishing = true;
    const publish = (): void => {
      crawlers.forEach((crawler, index) => {
        // Of several jobs each, in chunks of many messages.
        let lines = '';
        for (let count = 0; count < 60; count++) {
          const number = (sent[index] ?? 0) + count;
          const [jobId, processed] = [`job-${index}-${number % 4}`, Math.floor(number / 4)];
          lines += `${JSON.stringify({ type: 'job_progress', timestamp: '2026-01-01T00:00:00Z', jobId, data: progress(processed) })}\n`;
        }
        sent[index] = (sent[index] ?? 0) + 60;
        crawler.write(lines);
      });
      // Slowly enough that every last value is kept.
      if (isPublishing) setTimeout(publish, 1);
    };
    publish();
    let received = 0;
    for (let round = 0; round < 20; round++) {
      const app = await connect();
      app.say('subscribe', { id: 'x', last: true });
      await app.count(300 + round * 7);
      await app.close();
      const next = new Map<unknown, number>();
      for (const { jobId, data } of app.forwarded) {
        const expected = next.get(jobId) ?? data.processed;
        if (data.processed !== expected) throw new Error(`${jobId}: ${data.processed} after ${expected}`);
        next.set(jobId, Number(data.processed) + 1);
        received++;
      }
      // All jobs have been seen before: each begins with its last value.
      const count = Number(app.messages.find(({ type }) => type === 'subscribed')?.data.lastValues);
      const values = app.forwarded.slice(0, count).map(({ jobId }) => jobId);
      expect(new Set(values).size).toBe(count);
      if (round > 0) expect(count).toBe(12);
    }
    isPublishing = false;
    expect(received).toBeGreaterThan(5000);
  });
});

describe('limits', () => {
  test('of maxLastValues, the least recently updated are dropped', async () => {
    const { connect } = await startPlainBroker({ maxLastValues: 3 });
    const crawler = await connect();
    for (const job of [1, 2, 3, 1, 4]) {
      crawler.say('job_progress', progress(job), { jobId: `job-${job}` });
      await crawler.settled();
    }
    const values = await lastValues(await connect());
    expect(values.map(({ jobId }) => jobId)).toEqual(['job-3', 'job-1', 'job-4']);
  });

  test('of their bytes, half of maxPendingBytes: a longer message is not kept, nor is an older one of its job', async () => {
    const { connect } = await startPlainBroker({ maxPendingBytes: 4096 });
    const crawler = await connect();
    const say = async (job: number, size: number) => {
      crawler.say('job_progress', { ...progress(size), message: 'x'.repeat(size) }, { jobId: `job-${job}` });
      await crawler.settled();
    };
    await say(1, 100);
    await say(2, 100);
    await say(1, 3000);
    expect((await lastValues(await connect())).map(({ jobId }) => jobId)).toEqual(['job-2']);
    for (const job of [3, 4, 5]) await say(job, 700);
    expect((await lastValues(await connect())).map(({ jobId }) => jobId)).toEqual(['job-4', 'job-5']);
  });

  test('of a connection, maxSubscriptions per second', async () => {
    const { connect } = await startPlainBroker({ maxSubscriptions: 3 });
    const app = await connect();
    let text = '';
    for (let count = 0; count < 10; count++) text += '{"type":"subscribe","data":{"id":"x","last":true}}\n';
    app.write(text);
    await app.settled();
    expect(app.messages.filter(({ type }) => type === 'subscribed')).toHaveLength(3);
    expect(app.errors).toEqual(Array.from({ length: 7 }, () => 'RATE_LIMITED'));
  });

  test('of their bytes per second, 128 MiB for all subscribers', async () => {
    const copy = vi.fn(() => []);
    vi.spyOn(LastValues.prototype, 'select').mockReturnValue({
      bytes: 48 * 1024 * 1024,
      cost: 48 * 1024 * 1024,
      copy,
    });
    onTestFinished(() => void vi.restoreAllMocks());
    const { connect } = await startPlainBroker();
    const app = await connect();
    app.write('{"type":"subscribe","data":{"id":"x","last":true}}\n'.repeat(5));
    await app.settled();
    expect(app.messages.filter(({ type }) => type === 'subscribed')).toHaveLength(3);
    expect(app.errors).toEqual(['RATE_LIMITED', 'RATE_LIMITED']);
    expect(copy).toHaveBeenCalledTimes(3);
  });

  test('they do not count as overflow of the subscriber, whatever its policy', async () => {
    const { manager, connect } = await startPlainBroker({ maxPendingBytes: 512 * 1024 });
    const crawler = await connect();
    for (let job = 0; job < 20; job++)
      crawler.say('job_progress', { ...progress(job), message: 'x'.repeat(10_000) }, { jobId: `job-${job}` });
    await crawler.settled();
    for (const overflow of ['disconnect', 'drop-oldest', 'drop-newest', 'block']) {
      const app = await connect();
      expect(await lastValues(app, { overflow })).toHaveLength(20);
    }
    expect(manager.getMetrics().totals.messagesDropped).toBe(0);
    expect(manager.getMetrics().totals.messagesSent).toBe(80);
  });
});

describe('SluiceClient', () => {
  test('gives the last values to the subscription that begins with them, again after a reconnect', async () => {
    const { manager, connect, socketPath } = shared();
    const crawler = await connect();
    for (const job of [1, 2]) crawler.say('job_progress', progress(job), { jobId: `f-${job}` });
    await crawler.settled();
    const client = new SluiceClient({ socketPath, reconnect: { initialDelay: 1 } });
    onTestFinished(async () => void (await client.close()));
    await client.connect();
    const [all, ofJobs]: string[][] = [[], []];
    const jobIds = ['f-1', 'f-2'];
    await client.subscribe({ jobIds }, ({ message }) => all?.push(String(message.jobId)));
    await client.subscribe({ jobIds, last: true }, ({ message }) => ofJobs?.push(String(message.jobId)));
    await until(() => ofJobs?.length === 2);
    crawler.say('job_progress', progress(3), { jobId: 'f-1' });
    await until(() => all?.length === 1);
    expect([all, ofJobs]).toEqual([['f-1'], ['f-1', 'f-2', 'f-1']]);
    for (const connection of manager.getConnectionPool().filter({ role: 'app' })) connection.destroy();
    await until(() => ofJobs?.length === 5);
    expect([all, ofJobs?.slice(3)]).toEqual([['f-1'], ['f-2', 'f-1']]);
  });
});
