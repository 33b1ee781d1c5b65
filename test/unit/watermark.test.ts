import { describe, expect, test } from 'vitest';
import { Watermark } from '#src/watermark.js';

describe('Watermark', () => {
  test('is high from above the high watermark until down at the low one', () => {
    const mark = new Watermark(100, 0.75);
    const states = [100, 101, 100, 76, 75, 76, 100, 101].map((level) => [
      level,
      mark.update(level),
      mark.isHigh,
    ]);
    expect(states).toEqual([
      [100, false, false],
      [101, true, true],
      [100, false, true],
      [76, false, true],
      [75, true, false],
      [76, false, false],
      [100, false, false],
      [101, true, true],
    ]);
  });

  test('uses a changed high watermark with the next update', () => {
    const mark = new Watermark(100, 0.5);
    mark.update(80);
    mark.high = 60;
    expect(mark.isHigh).toBe(false);
    expect(mark.update(61)).toBe(true);
    expect(mark.update(31)).toBe(false);
    expect(mark.update(30)).toBe(true);
  });
});
