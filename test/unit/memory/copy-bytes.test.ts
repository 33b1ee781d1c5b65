import { describe, expect, test } from 'vitest';
import { cloneBytes, copyBytes } from '#src/memory/copy-bytes.js';
import { timeRatio } from '../../support/timing.js';

const SIZE = 64 * 1024;

/** Bytes of which no two regions are alike. */
function filled(memory: SharedArrayBuffer | ArrayBuffer): Buffer {
  const bytes = Buffer.from(memory);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 31) ^ (at >> 8);
  return bytes;
}

describe.each([
  ['shared', () => filled(new SharedArrayBuffer(3 * SIZE))],
  ['other', () => filled(new ArrayBuffer(3 * SIZE))],
])('bytes in %s memory', (_name, create) => {
  test.each([0, 1, 17, 1023, 1024, 5000, SIZE])(
    '%i bytes are copied, and nothing else is written',
    (length) => {
      const source = create().subarray(3);
      const target = Buffer.alloc(2 * SIZE, 0xaa);
      expect(copyBytes(source, 5, 5 + length, target, 9)).toBe(length);
      expect(target.subarray(9, 9 + length).equals(source.subarray(5, 5 + length))).toBe(true);
      expect(target[8]).toBe(0xaa);
      expect(target[9 + length]).toBe(0xaa);
    },
  );

  test('can be copied within one buffer', () => {
    const bytes = create();
    const part = Buffer.from(bytes.subarray(7, 7 + 1500));
    copyBytes(bytes, 7, 7 + 1500, bytes, 2 * SIZE);
    expect(bytes.subarray(2 * SIZE, 2 * SIZE + 1500).equals(part)).toBe(true);
  });

  test('can be cloned', () => {
    const bytes = create().subarray(11, 3000);
    const clone = cloneBytes(bytes);
    expect(clone.equals(bytes)).toBe(true);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    expect(clone.equals(bytes)).toBe(false);
  });
});

test('a copy of shared memory takes at most 5 times as long as one of other memory, however they are aligned', () => {
  const [shared, other] = [filled(new SharedArrayBuffer(2 * SIZE)), filled(new ArrayBuffer(2 * SIZE))];
  const target = Buffer.alloc(SIZE);
  const copyOf = (bytes: Buffer) => () => {
    for (let at = 0; at < 200; at++) copyBytes(bytes, at % 8, (at % 8) + SIZE, target, 0);
  };
  expect(timeRatio(copyOf(shared), copyOf(other), 5)).toBeLessThan(5);
});
