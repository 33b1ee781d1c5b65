import { expect, test } from 'vitest';
import { ProcessorClock } from '#src/dispatch/watchdog.js';

/** A clock of a made-up process. Takes how long passes, and what the process uses of its processors meanwhile. */
function startClock(interval: number) {
  let [time, used] = [1000, 50];
  const clock = new ProcessorClock(
    interval,
    () => time,
    () => used,
  );
  return (passed: number, usedMeanwhile: number) => {
    time += passed;
    used += usedMeanwhile;
    return clock.read();
  };
}

test('a busy process has the time that passes, however many processors it uses', () => {
  const after = startClock(50);
  expect(after(50, 50)).toBe(50);
  expect(after(50, 190)).toBe(100);
});

test('a process that gets little processor has what it gets, and a quarter of the time at least', () => {
  const after = startClock(50);
  expect(after(100, 40)).toBe(40);
  expect(after(100, 0)).toBe(65);
});

test('a process that was stopped has lost no time', () => {
  const after = startClock(50);
  expect(after(3_600_000, 0)).toBe(50);
  expect(after(50, 50)).toBe(100);
});
