// An application written against the replaced server, with one changed import, and peers that behave like its crawler.

import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { LIGHT, temporaryFolder, until } from '../../support/broker.js';
import { type JobRow, startApp } from '../../support/crawler-app.js';
import { VALID } from '../../support/messages.js';

/** The entity types of jobs. Those that the protocol has had from the beginning. */
const ENTITY_TYPES = ['project', 'group', 'user', 'issue', 'merge_request'] as const;

/**
 * Writes JSON without a delimiter, in pieces that end anywhere, and knows two types of messages: it ignores all others.
 */
class UndelimitedCrawler {
  readonly socket: Socket;
  readonly received: { type: string; data: { jobs?: JobRow[]; expiresAt?: string; accessToken?: string } }[] =
    [];
  #text = '';

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (this.#text + text).split('\n');
      this.#text = lines.pop() ?? '';
      const messages = lines.map((line) => JSON.parse(line));
      this.received.push(
        ...messages.filter(({ type }) => type === 'job_response' || type === 'token_refresh_response'),
      );
    });
    onTestFinished(() => void this.socket.destroy());
  }

  /** Writes messages, byte by byte or in pieces. Each piece is a write of its own. */
  async write(messages: readonly object[], pieceSize: number): Promise<void> {
    const bytes = Buffer.from(messages.map((message) => JSON.stringify(message)).join(''));
    for (let start = 0; start < bytes.length; start += pieceSize) {
      this.socket.write(bytes.subarray(start, start + pieceSize));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async next(count: number) {
    await until(() => this.received.length >= count);
    return this.received[count - 1];
  }
}

test('an application of the replaced server serves the crawlers it had', async () => {
  const socketPath = join(temporaryFolder(), 'api.sock');
  const app = await startApp({ ...LIGHT, socketPath });
  onTestFinished(() => app.server.stop());
  const jobs = ENTITY_TYPES.map((entityType, index) => ({
    id: `job-${index}`,
    entityType,
    entityId: String(index),
    gitlabUrl: 'https://gitlab.example.com',
    accessToken: 'glpat-of-the-job',
  }));
  app.table.queued.push(...jobs, { ...jobs[0], id: 'job-5', entityType: 'project' } as JobRow);

  // It opens two connections when it starts, of which only one is used.
  const [crawler, unused] = [new UndelimitedCrawler(socketPath), new UndelimitedCrawler(socketPath)];
  await crawler.write([VALID.heartbeat, VALID.job_request], 1);
  expect(await crawler.next(1)).toMatchObject({ type: 'job_response', data: { jobs } });

  await crawler.write([VALID.job_started, VALID.job_progress, VALID.jobs_discovered, VALID.heartbeat], 7);
  await crawler.write([VALID.token_refresh_request, VALID.job_request], 1000);
  expect((await crawler.next(2))?.data).toMatchObject({
    accessToken: 'glpat-refreshed-token',
    expiresAt: expect.stringMatching(/^\d{4}-/),
    refreshSuccessful: true,
  });
  expect((await crawler.next(3))?.data.jobs?.map(({ id }) => id)).toEqual(['job-5']);

  await until(() => app.audit.log.includes('job_request: true (1 jobs)'));
  expect(app.audit.log).toEqual([
    'received heartbeat',
    'heartbeat: true',
    'received job_request',
    'job_request: true (5 jobs)',
    'received job_started',
    'job_started: true',
    'received job_progress',
    'job_progress: true',
    'received jobs_discovered',
    'jobs_discovered: true',
    'received heartbeat',
    'heartbeat: true',
    'received token_refresh_request',
    'sent token_refresh_response',
    'token_refresh_request: true',
    'received job_request',
    'job_request: true (1 jobs)',
  ]);
  expect(app.table.discovered).toEqual(['a:1']);
  expect(app.statusPage()).toEqual({
    socketServerRunning: true,
    uptime: expect.any(Number),
    maxConnections: 3,
    crawlerConnections: 1,
    totalConnections: 2,
    completion: null,
    crawlers: ['crawling'],
    jobs: { 'job-1': '5/10' },
  });

  unused.socket.end();
  await until(() => app.server.getConnectionStats().total === 1);
  expect(app.events).toEqual(['connected', 'connected', 'disconnected: peer']);
  await app.server.stop();
  expect(app.statusPage()).toMatchObject({ socketServerRunning: false, totalConnections: 0 });
  expect(unused.received).toEqual([]);
});
