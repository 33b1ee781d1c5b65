import { MessageRegistry } from 'sluice';
import { expect, test } from 'vitest';
import { NO_SEED } from '#src/messages/job-key.js';
import { LastValueReplay } from '#src/protocol/last-value-replay.js';
import { Filter } from '#src/routing/filter.js';
import type { LastMessages, LastValues } from '#src/routing/last-values.js';

const MiB = 1024 * 1024;
const NEWLINE = 10;
const filter = new Filter(MessageRegistry.builtin(), { id: 'x', types: ['*'] }, NO_SEED);

/** Messages of this size, and how often they were selected and copied. @param size number of values that are kept */
function replayOf(bytes: number, size = 0) {
  const clock = { now: 0 };
  const calls = { selected: 0, copied: 0 };
  const select = () => {
    calls.selected++;
    const copy = (): LastMessages[] => {
      calls.copied++;
      return [];
    };
    return { bytes, cost: bytes, copy };
  };
  const replay = new LastValueReplay({ select, size } as unknown as LastValues, NEWLINE, () => clock.now);
  return { clock, calls, replay };
}

test('nothing is copied for a subscriber without room', () => {
  const { calls, replay } = replayOf(16 * MiB);
  expect(replay.copy(filter, (bytes) => bytes < 16 * MiB)).toBeUndefined();
  expect(calls).toEqual({ selected: 1, copied: 0 });
  expect(replay.copy(filter, (bytes) => bytes === 16 * MiB)).toEqual([]);
  expect(calls.copied).toBe(1);
});

test.each([
  ['with', true],
  ['without', false],
])('at 128 MiB in a second, %s room for them, nothing more is selected until the next one', (_, hasRoom) => {
  const { clock, calls, replay } = replayOf(16 * MiB);
  for (let count = 1; count <= 64; count++)
    expect(replay.copy(filter, () => hasRoom)).toEqual(hasRoom && count <= 8 ? [] : undefined);
  expect(calls).toEqual({ selected: 8, copied: hasRoom ? 8 : 0 });
  clock.now = 1000;
  expect(replay.copy(filter, () => true)).toEqual([]);
});

test('a filter that matches nothing is compared with a limited number of values per second', () => {
  const [size, times] = [10_000, 1000];
  const { clock, calls, replay } = replayOf(0, size);
  const copy = () => replay.copy(filter, () => true);
  const answers = Array.from({ length: times }, copy);
  expect(answers[0]).toEqual([]);
  expect(answers.at(-1)).toBeUndefined();
  expect(calls.selected * size).toBeLessThan(5_000_000);
  clock.now = 1000;
  expect(copy()).toEqual([]);
});
