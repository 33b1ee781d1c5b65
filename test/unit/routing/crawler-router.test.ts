import { beforeEach, describe, expect, test } from 'vitest';
import { jobKey, NO_SEED } from '#src/messages/job-key.js';
import { traitsOf } from '#src/messages/message-traits.js';
import { CrawlerRouter, type Recipient } from '#src/routing/crawler-router.js';

class Crawler implements Recipient {
  readonly id: string;
  readonly identity;
  isIdentified = true;
  workload = 1;

  constructor(id: string, crawlerId?: string) {
    this.id = id;
    this.identity = { connectionId: id, crawlerId };
  }
}

let crawlers: Crawler[] = [];
let now = 0;
let router: CrawlerRouter<Crawler>;

beforeEach(() => {
  crawlers = ['a', 'b', 'c'].map((id) => new Crawler(id, `crawler-${id}`));
  now = 0;
  router = new CrawlerRouter(
    {
      crawlers: () => crawlers,
      crawlerByConnection: (id) => crawlers.find((crawler) => crawler.id === id),
      crawlerById: (id) => crawlers.find(({ identity }) => identity.crawlerId === id),
    },
    100,
    () => now,
  );
});

const keyOf = (jobId: string) => jobKey(jobId, NO_SEED);
const FOREVER = Number.POSITIVE_INFINITY;

function own(jobId: string, owner: Crawler | undefined): void {
  const { low, high } = keyOf(jobId);
  if (owner !== undefined) router.owners.set(low, high, owner.identity);
}

function disconnect(id: string): void {
  crawlers = crawlers.filter((crawler) => crawler.id !== id);
  router.forget(id);
}

const find = (type: string, to?: string, jobId?: string, sender = 'app') => {
  const job = jobId === undefined ? undefined : keyOf(jobId);
  const traits = traitsOf(type);
  const assigned = traits.assigns === undefined || job === undefined ? [] : [{ ...job, id: jobId ?? '' }];
  return router.find({ traits, to, job, assigned }, sender).map(({ id }) => id);
};

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

  test('any is never a connection that has not shown that it is a crawler, nor the sender', () => {
    const [a, b] = crawlers;
    if (a) a.isIdentified = false;
    if (b) b.workload = 9;
    expect(find('job_assignment', 'any', undefined, 'c')).toEqual(['b']);
    disconnect('b');
    expect(find('job_assignment', 'any', undefined, 'c')).toEqual([]);
  });

  test('any is the crawler that has waited longest, however busy it is', () => {
    const [, , c] = crawlers;
    if (c) c.workload = 100;
    router.onJobRequest('c', FOREVER);
    router.onJobRequest('b', FOREVER);
    expect(find('job_assignment', 'any')).toEqual(['c']);
    expect(find('job_response', 'any')).toEqual(['b']);
  });

  test('wins over the owner of the job', () => {
    own('job-1', crawlers[0]);
    expect(find('token_refresh_response', 'b', 'job-1')).toEqual(['b']);
  });
});

describe('the owner of the job', () => {
  test.each(['token_refresh_response', 'job_cancel', 'shutdown', 'job_assignment', 'a_custom_type'])(
    'gets %s',
    (type) => {
      own('job-1', crawlers[1]);
      expect(find(type, undefined, 'job-1')).toEqual(['b']);
    },
  );

  test.each([
    ['token_refresh_response', []],
    ['job_cancel', []],
    ['job_pause', []],
    ['job_resume', []],
    ['shutdown', []],
    ['a_custom_type', []],
    ['job_assignment', ['a']],
    ['job_response', ['a']],
  ])('that has gone: %s goes to %j', (type, expected) => {
    own('job-1', crawlers[1]);
    disconnect('b');
    expect(find(type, undefined, 'job-1')).toEqual(expected);
  });

  test('is the crawler with its crawlerId on whichever connection', () => {
    own('job-1', crawlers[1]);
    disconnect('b');
    crawlers.push(new Crawler('d', 'crawler-b'));
    expect(find('token_refresh_response', undefined, 'job-1')).toEqual(['d']);
    // Also for other hosts that look for it: it need not wait for a job.
    const isFound = (jobId: string) => {
      const address = { traits: traitsOf('job_assignment'), to: undefined, job: keyOf(jobId), assigned: [] };
      return router.hasRecipient(address, true);
    };
    expect(['job-1', 'job-of-nobody'].map(isFound)).toEqual([true, false]);
  });

  test('without a crawlerId is this connection alone', () => {
    const nameless = new Crawler('n');
    crawlers.push(nameless);
    own('job-1', nameless);
    expect(find('job_cancel', undefined, 'job-1')).toEqual(['n']);
    disconnect('n');
    // Neither another without a crawlerId, nor one with the same text as its crawlerId.
    crawlers.push(new Crawler('m'), new Crawler('o', 'n'));
    expect(find('job_cancel', undefined, 'job-1')).toEqual([]);
  });

  test('takes its jobs along when it gets its crawlerId later', () => {
    const late = new Crawler('n');
    crawlers.push(late);
    own('job-1', late);
    late.identity.crawlerId = 'late';
    disconnect('n');
    crawlers.push(new Crawler('m', 'late'));
    expect(find('job_cancel', undefined, 'job-1')).toEqual(['m']);
  });

  test('is the crawler that was assigned the job', () => {
    find('job_assignment', 'crawler-c', 'job-9');
    expect(find('token_refresh_response', undefined, 'job-9')).toEqual(['c']);
  });

  test('is undefined if the job was assigned to all', () => {
    find('job_assignment', '*', 'job-9');
    expect(router.owners.size).toBe(0);
  });
});

test.each([
  ['token_refresh_response', []],
  ['job_cancel', []],
  ['job_pause', []],
  ['job_resume', []],
  ['shutdown', ['a', 'b', 'c']],
  ['a_custom_type', ['a', 'b', 'c']],
  ['job_assignment', ['a']],
  ['job_response', ['a']],
])('without `to` and a known owner, %s goes to %j', (type, expected) => {
  expect(find(type)).toEqual(expected);
  expect(find(type, undefined, 'unknown-job')).toEqual(expected);
});

describe.each(['job_response', 'job_assignment'])('%s', (type) => {
  test('goes to the crawler whose request has waited longest, each in turn', () => {
    for (const id of ['b', 'a', 'b']) router.onJobRequest(id, FOREVER);
    expect(find(type)).toEqual(['b']);
    expect(find(type)).toEqual(['a']);
    const [, , c] = crawlers;
    if (c) c.workload = 0;
    expect(find(type)).toEqual(['c']);
  });

  test('skips crawlers that have disconnected', () => {
    router.onJobRequest('gone', FOREVER);
    router.onJobRequest('c', FOREVER);
    router.onJobRequest('b', FOREVER);
    disconnect('c');
    expect(find(type)).toEqual(['b']);
    expect(find(type)).toEqual(['a']);
  });

  test.each(['crawler-c', 'c', '*'])('to %s ends the waiting too', (to) => {
    router.onJobRequest('c', FOREVER);
    find(type, to);
    expect(find(type)).toEqual(['a']);
  });

  test('to the owner of its job ends the waiting too', () => {
    own('job-1', crawlers[2]);
    router.onJobRequest('c', FOREVER);
    expect(find(type, undefined, 'job-1')).toEqual(['c']);
    expect(find(type)).toEqual(['a']);
  });

  test('a crawler that requests again after its request has expired waits behind the others', () => {
    router.onJobRequest('b', 100);
    router.onJobRequest('c', FOREVER);
    now = 100;
    router.onJobRequest('b', FOREVER);
    expect(find(type)).toEqual(['c']);
    expect(find(type)).toEqual(['b']);
  });

  test('a request ends with its time, unless another of the same crawler lasts longer', () => {
    router.onJobRequest('b', 200);
    router.onJobRequest('c', 300);
    router.onJobRequest('c', 100);
    now = 200;
    expect(find(type)).toEqual(['c']);
    router.onJobRequest('c', 300);
    now = 300;
    expect(find(type)).toEqual(['a']);
  });
});

test('other messages do not end the waiting', () => {
  router.onJobRequest('c', FOREVER);
  expect(find('token_refresh_response', 'c')).toEqual(['c']);
  expect(find('job_response')).toEqual(['c']);
});
