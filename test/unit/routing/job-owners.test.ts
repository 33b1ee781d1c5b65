import { describe, expect, test } from 'vitest';
import { jobKey, randomJobSeed } from '#src/messages/job-key.js';
import { type CrawlerIdentity, JOB_STATE, JobOwners } from '#src/routing/job-owners.js';

const seed = randomJobSeed();

const crawler = (connectionId: string) => ({ connectionId, crawlerId: undefined });

class Owners {
  readonly owners: JobOwners;

  constructor(capacity: number) {
    this.owners = new JobOwners(capacity);
  }

  set(jobId: string, connectionId: string): void {
    const { low, high } = jobKey(jobId, seed);
    this.owners.set(low, high, crawler(connectionId));
  }

  get(jobId: string): string | undefined {
    return this.owners.get(jobKey(jobId, seed))?.connectionId;
  }
}

describe('JobOwners', () => {
  test('forgets the job not heard of for longest', () => {
    const owners = new Owners(2);
    owners.set('job-1', 'a');
    owners.set('job-2', 'b');
    owners.set('job-1', 'c');
    owners.set('job-3', 'd');
    expect([owners.get('job-1'), owners.get('job-2'), owners.get('job-3')]).toEqual(['c', undefined, 'd']);
    expect(owners.owners.size).toBe(2);
  });

  test.each([1, 3, 64, 1000])(
    'of %i jobs, knows the latest owner of the three quarters that were set last',
    (capacity) => {
      const owners = new Owners(capacity);
      /** Oldest first. */
      const model = new Map<string, string>();
      const certain = capacity - Math.floor(capacity / 4);
      let forgotten = 0;
      let random = 1;
      for (let step = 0; step < 30_000; step++) {
        random = (random * 48271) % 0x7fffffff;
        const jobId = `job-${random % (capacity * 3)}`;
        owners.set(jobId, `c-${step}`);
        model.delete(jobId);
        model.set(jobId, `c-${step}`);
        const asked = `job-${(random >> 8) % (capacity * 3)}`;
        const owner = owners.get(asked);
        if (owner === undefined) forgotten++;
        // Cheaper than an `expect` of each.
        else if (owner !== model.get(asked)) expect(owner).toBe(model.get(asked));
      }
      expect(owners.owners.size).toBe(capacity);
      for (const [jobId, connectionId] of [...model].slice(-certain))
        expect(owners.get(jobId)).toBe(connectionId);
      // Two of three.
      expect(forgotten).toBeGreaterThan(15_000);
    },
  );

  test('several jobs at once are set as one after another', () => {
    const seedOf = (index: number) => jobKey(`job-${index}`, seed);
    for (const capacity of [2, 16, 64]) {
      const [single, several] = [new JobOwners(capacity), new JobOwners(capacity)];
      const crawlers = ['a', 'b', 'c'].map((id) => [crawler(id), crawler(id)] as const);
      let random = 7;
      const next = (below: number) => {
        random = (random * 48271) % 0x7fffffff;
        return random % below;
      };
      for (let run = 1; run < 400; run++) {
        const count = 1 + next(20);
        const numbers = Array.from({ length: count }, () => next(capacity * 2));
        const states = Uint8Array.from(
          numbers,
          () => [JOB_STATE.OPEN, JOB_STATE.ENDED, JOB_STATE.MENTIONED][next(3)] ?? 0,
        );
        const [one, other] = crawlers[next(3)] ?? [crawler('x'), crawler('x')];
        const keys = numbers.map(seedOf);
        const read: [number[], number[]] = [[], []];
        keys.forEach(({ low, high }, at) => {
          const runOf = states[at] === JOB_STATE.MENTIONED ? undefined : run;
          if (!single.set(low | 0, high | 0, one, states[at] === JOB_STATE.ENDED, runOf)) return;
          read[0].push(at);
          single.setId(`job-${numbers[at]}`);
        });
        const lows = Int32Array.from(keys, ({ low }) => low | 0);
        const highs = Int32Array.from(keys, ({ high }) => high | 0);
        several.setAll({ lows, highs, states, count }, other, run, (at) => {
          read[1].push(at);
          return `job-${numbers[at]}`;
        });
        expect(read[1]).toEqual(read[0]);
        expect(several.openJobsOf(other)).toEqual(single.openJobsOf(one));
      }
      for (let index = 0; index < capacity * 2; index++) {
        const { low, high } = seedOf(index);
        expect(several.runOf(low, high)).toBe(single.runOf(low, high));
        expect(several.get({ low, high })?.connectionId).toBe(single.get({ low, high })?.connectionId);
      }
    }
  });

  describe('the ID of a job', () => {
    const keyOf = (index: number) => jobKey(`job-${index}`, seed);
    const report = (owners: JobOwners, owner: CrawlerIdentity, index: number, hasEnded = false) => {
      const { low, high } = keyOf(index);
      const isWanted = owners.set(low, high, owner, hasEnded);
      if (isWanted) owners.setId(`job-${index}`);
      return isWanted;
    };

    test('is read once, also if the job opens again', () => {
      const owners = new JobOwners(10);
      const owner: CrawlerIdentity = crawler('a');
      expect(report(owners, owner, 1)).toBe(true);
      expect(report(owners, owner, 1)).toBe(false);
      expect(report(owners, owner, 1, true)).toBe(false);
      expect(owners.openJobsOf(owner)).toEqual({ ids: [], total: 0 });
      expect(report(owners, owner, 1)).toBe(false);
      expect(owners.openJobsOf(owner)).toEqual({ ids: ['job-1'], total: 1 });
    });

    test('that has ended is not that of the job that takes its place', () => {
      const owners = new JobOwners(1);
      const owner: CrawlerIdentity = crawler('a');
      report(owners, owner, 1);
      report(owners, owner, 1, true);
      expect(report(owners, owner, 2)).toBe(true);
      expect(owners.openJobsOf(owner)).toEqual({ ids: ['job-2'], total: 1 });
    });

    test('is read later if a crawler has more than 1,000 jobs, when half of them have ended', () => {
      const owners = new JobOwners(10_000);
      const owner: CrawlerIdentity = crawler('a');
      for (let index = 0; index < 1200; index++) expect(report(owners, owner, index)).toBe(index < 1000);
      for (let index = 0; index < 499; index++) report(owners, owner, index, true);
      expect(report(owners, owner, 1100)).toBe(false);
      report(owners, owner, 499, true);
      for (let index = 500; index < 1200; index++) expect(report(owners, owner, index)).toBe(index >= 1000);
      const { ids, total } = owners.openJobsOf(owner);
      expect([ids.length, total]).toEqual([700, 700]);
    });
  });

  test('finds keys that share a slot, and those behind one that is removed', () => {
    const owners = new JobOwners(4);
    // All begin at the same slot of eight, or at the one behind it.
    const keys = Array.from({ length: 40 }, (_, index) => ({
      low: (index * 8 + 7 + (index % 2)) >>> 0,
      high: 1,
    }));
    keys.forEach(({ low, high }, index) => {
      owners.set(low, high, crawler(`${index}`));
      for (let back = 0; back < 8 && back <= index; back++) {
        const key = keys[index - back] ?? { low: 0, high: 0 };
        expect(owners.get(key)?.connectionId).toBe(back < 4 ? `${index - back}` : undefined);
      }
    });
  });

  test('two keys with the same lower half are two jobs', () => {
    const owners = new JobOwners(2);
    const [a, b] = [crawler('a'), crawler('b')];
    owners.set(5, 1, a);
    owners.set(5, 3, b);
    expect([owners.get({ low: 5, high: 1 }), owners.get({ low: 5, high: 3 })]).toEqual([a, b]);
  });
});
