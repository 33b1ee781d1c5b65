import { MessageRegistry } from 'sluice';
import { beforeAll, expect, test } from 'vitest';
import { jobKey, NO_SEED } from '#src/messages/job-key.js';
import { Filter } from '#src/routing/filter.js';
import { FilterIndex } from '#src/routing/filter-index.js';

let registry: MessageRegistry;

beforeAll(async () => {
  registry = await MessageRegistry.load();
});

const filterOf = (...jobIds: string[]) => new Filter(registry, { id: 'a', types: ['*'], jobIds }, NO_SEED);
const lowOf = (jobId: string) => jobKey(jobId, NO_SEED).low;

test('finds the filters of a job, as often as any are added and removed', () => {
  const index = new FilterIndex<string>(true);
  const names = Array.from({ length: 3000 }, (_, number) => `job-${number}`);
  const filters = names.map((name, number) => filterOf(name, names[(number + 1) % names.length] ?? ''));
  /** The jobs with another number of filters. */
  const except = (count: number) => names.filter((name) => index.ofJob(lowOf(name)).length !== count);
  expect(index.hasJobs).toBe(false);
  for (let round = 0; round < 3; round++) {
    names.forEach((name, number) => {
      const filter = filters[number];
      if (filter !== undefined) index.add(filter, name);
    });
    expect(except(2)).toEqual([]);
    names.forEach((name, number) => {
      const filter = filters[number];
      if (number % 2 === 0 && filter !== undefined) index.remove(filter, name);
    });
    // Each of the others is found, though half of those that share its mark are gone.
    expect(except(1)).toEqual([]);
    names.forEach((name, number) => {
      const filter = filters[number];
      if (number % 2 === 1 && filter !== undefined) index.remove(filter, name);
    });
    expect(index.hasJobs).toBe(false);
    expect(names.some((name) => index.mayHaveJob(lowOf(name)))).toBe(false);
  }
});

test('most jobs without filters are told apart at once', () => {
  const index = new FilterIndex<string>(true);
  const names = Array.from({ length: 1000 }, (_, number) => `job-${number}`);
  index.add(filterOf(...names.slice(0, 100)), 'a');
  const others = names.slice(100).filter((name) => index.mayHaveJob(lowOf(name)));
  expect(others.length).toBeLessThan(20);
  expect(names.slice(0, 100).every((name) => index.mayHaveJob(lowOf(name)))).toBe(true);
});

test('without marks, any job may have filters', () => {
  const index = new FilterIndex<string>();
  expect(index.mayHaveJob(lowOf('job-2'))).toBe(false);
  index.add(filterOf('job-1'), 'a');
  expect([index.mayHaveJob(lowOf('job-2')), index.ofJob(lowOf('job-2')).length]).toEqual([true, 0]);
  expect(index.ofJob(lowOf('job-1'))).toHaveLength(1);
});

test('a job that a filter lists twice is found once', () => {
  const index = new FilterIndex<string>(true);
  const filter = filterOf('job-1', 'job-1');
  index.add(filter, 'a');
  expect(index.ofJob(lowOf('job-1'))).toEqual([
    { filter, target: 'a', high: jobKey('job-1', NO_SEED).high | 0, matchesAll: true, mark: filter.mark },
  ]);
});
