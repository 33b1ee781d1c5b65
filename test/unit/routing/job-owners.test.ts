import { describe, expect, test } from 'vitest';
import { jobKey, randomJobSeed } from '#src/messages/job-key.js';
import { JobOwners } from '#src/routing/job-owners.js';

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

  test.each([1, 3, 64, 1000])('is a map of the %i jobs that were set last', (capacity) => {
    const owners = new Owners(capacity);
    /** Oldest first. */
    const model = new Map<string, string>();
    let random = 1;
    for (let step = 0; step < 30_000; step++) {
      random = (random * 48271) % 0x7fffffff;
      const jobId = `job-${random % (capacity * 3)}`;
      owners.set(jobId, `c-${step}`);
      model.delete(jobId);
      model.set(jobId, `c-${step}`);
      const oldest = model.keys().next().value;
      if (model.size > capacity && oldest !== undefined) model.delete(oldest);
      const asked = `job-${(random >> 8) % (capacity * 3)}`;
      // Cheaper than an `expect` of each.
      if (owners.get(asked) !== model.get(asked)) expect(owners.get(asked)).toBe(model.get(asked));
    }
    expect(owners.owners.size).toBe(capacity);
    for (const [jobId, connectionId] of model) expect(owners.get(jobId)).toBe(connectionId);
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
