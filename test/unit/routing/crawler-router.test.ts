import { beforeEach, describe, expect, test } from 'vitest';
import { jobKey, NO_SEED } from '#src/messages/job-key.js';
import { traitsOf } from '#src/messages/message-traits.js';
import { CrawlerRouter, type Recipient } from '#src/routing/crawler-router.js';

let crawlers: (Recipient & { workload: number })[] = [];
let recipients: CrawlerRouter<Recipient>;

beforeEach(() => {
  crawlers = ['a', 'b', 'c'].map((id) => ({ id, crawlerId: `crawler-${id}`, workload: 1 }));
  recipients = new CrawlerRouter(
    { activeCrawlers: () => crawlers, activeCrawler: (id) => crawlers.find((crawler) => crawler.id === id) },
    100,
  );
});

const keyOf = (jobId: string) => jobKey(jobId, NO_SEED);

function own(jobId: string, connectionId: string): void {
  const { low, high } = keyOf(jobId);
  recipients.owners.set(low, high, connectionId);
}

const find = (type: string, to?: string, jobId?: string, sender = 'app') =>
  recipients
    .find({ traits: traitsOf(type), to, job: jobId === undefined ? undefined : keyOf(jobId) }, sender)
    .map(({ id }) => id);

describe('to', () => {
  test('a connection id or a crawlerId', () => {
    expect(find('shutdown', 'b')).toEqual(['b']);
    expect(find('shutdown', 'crawler-c')).toEqual(['c']);
    expect(find('shutdown', 'nobody')).toEqual([]);
  });

  test('* is every crawler but the sender', () => {
    expect(find('shutdown', '*')).toEqual(['a', 'b', 'c']);
    expect(find('shutdown', '*', undefined, 'b')).toEqual(['a', 'c']);
  });

  test('any is the least busy one', () => {
    const [, b] = crawlers;
    if (b) b.workload = 0;
    expect(find('job_assignment', 'any')).toEqual(['b']);
    crawlers = [];
    expect(find('job_assignment', 'any')).toEqual([]);
  });

  test('wins over the owner of the job', () => {
    own('job-1', 'a');
    expect(find('token_refresh_response', 'b', 'job-1')).toEqual(['b']);
  });
});

describe('the owner of the job', () => {
  test('gets what is about it', () => {
    own('job-1', 'b');
    expect(find('token_refresh_response', undefined, 'job-1')).toEqual(['b']);
  });

  test('that has gone is no owner', () => {
    own('job-1', 'gone');
    expect(find('token_refresh_response', undefined, 'job-1')).toEqual(['a', 'b', 'c']);
  });

  test('is who was assigned it', () => {
    find('job_assignment', 'crawler-c', 'job-9');
    expect(find('token_refresh_response', undefined, 'job-9')).toEqual(['c']);
  });

  test('is nobody when all were assigned it', () => {
    find('job_assignment', '*', 'job-9');
    expect(recipients.owners.size).toBe(0);
  });
});

describe('job_response', () => {
  test('goes to the crawler whose request has waited longest, each in turn', () => {
    for (const id of ['b', 'a', 'b']) recipients.onJobRequest(id);
    expect(find('job_response')).toEqual(['b']);
    expect(find('job_response')).toEqual(['a']);
    expect(find('job_response')).toEqual(['a', 'b', 'c']);
  });

  test('passes over crawlers that have gone', () => {
    recipients.onJobRequest('gone');
    recipients.onJobRequest('a');
    recipients.onJobRequest('b');
    recipients.forget('a');
    expect(find('job_response')).toEqual(['b']);
    expect(find('job_response')).toEqual(['a', 'b', 'c']);
  });

  test('an answer by name ends the waiting too', () => {
    recipients.onJobRequest('a');
    find('job_response', 'crawler-a');
    expect(find('job_response')).toEqual(['a', 'b', 'c']);
  });
});
