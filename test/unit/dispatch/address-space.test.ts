import { expect, test } from 'vitest';
import { requireAddressSpace } from '#src/dispatch/address-space.js';

const LIMITS = (bytes: string) =>
  `Limit                     Soft Limit           Hard Limit           Units\nMax address space         ${bytes}           unlimited            bytes\n`;
const USED = 'Name:\tnode\nVmPeak:\t 2000000 kB\nVmSize:\t 1048576 kB\n';
const GiB = 1024 ** 3;

test('threads need room below the limit on address space', () => {
  const limits = LIMITS(String(3 * GiB));
  expect(() => requireAddressSpace(3, limits, USED)).not.toThrow();
  expect(() => requireAddressSpace(4, limits, USED)).toThrow('has room for 3 more threads, 4 are needed');
  expect(() => requireAddressSpace(1, LIMITS(String(GiB / 2)), USED)).toThrow('has room for 0 more threads');
});

test('without a limit, or where it cannot be read, there is room', () => {
  expect(() => requireAddressSpace(64, LIMITS('unlimited'), USED)).not.toThrow();
  expect(() => requireAddressSpace(64, '', '')).not.toThrow();
  expect(() => requireAddressSpace(64)).not.toThrow();
});
