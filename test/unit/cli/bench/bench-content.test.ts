import { MessageValidator } from 'sluice';
import { describe, expect, test } from 'vitest';
import {
  CLOCK_SIZE,
  findClocks,
  makeBlock,
  makeClock,
  planOf,
  sharedNow,
  shareOf,
} from '#src/cli/bench/bench-content.js';

const validator = new MessageValidator();

describe('a block of the bench', () => {
  test.each([undefined, 200, 4096, 70_000])('has valid messages only, of size %s', (size) => {
    const { bytes, ends } = makeBlock(3, size);
    let from = 0;
    for (const end of ends) {
      expect(validator.validate(bytes.subarray(from, end - 1)).ok).toBe(true);
      if (size !== undefined) expect(end - from).toBe(size + 1);
      from = end;
    }
    expect(from).toBe(bytes.length);
  });

  test('has no clock in it, so that only clocks are taken for one', () => {
    findClocks(makeBlock(1, undefined).bytes, () => expect.unreachable());
  });

  test('cannot have messages smaller than there are', () => {
    expect(() => makeBlock(0, 20)).toThrow('--size: must be at least');
  });
});

test('a clock is a valid message, and contains its time', () => {
  const before = sharedNow();
  const clock = makeClock();
  expect(validator.validate(clock.subarray(0, -1)).ok).toBe(true);
  expect(clock.length).toBe(CLOCK_SIZE);
  const times: number[] = [];
  findClocks(Buffer.concat([makeBlock(1, 200).bytes, clock, clock, clock.subarray(0, -10)]), (time) =>
    times.push(time),
  );
  expect(times.length).toBe(2);
  expect(times[0]).toBeGreaterThanOrEqual(before);
  expect(times[1]).toBeLessThanOrEqual(sharedNow());
});

test.each([1, 2, 3, 1000, 4001, 10_000])(
  'a plan for %i messages sends so many, clocks included',
  (messages) => {
    const block = makeBlock(0, 500);
    const plan = planOf(block, messages);
    const rest = plan.rest === undefined ? 0 : plan.rest / 501 + 1;
    expect(plan.blocks * (block.ends.length + 1) + rest).toBe(messages);
    expect(plan.bytes).toBe(
      plan.blocks * (block.bytes.length + CLOCK_SIZE) +
        (plan.rest === undefined ? 0 : plan.rest + CLOCK_SIZE),
    );
  },
);

test('shares add up', () => {
  expect([0, 1, 2].map((index) => shareOf(11, 3, index))).toEqual([4, 4, 3]);
});
