// The limit on the address space of the process (ulimit -v). If it is too small for a worker thread, V8 ends the whole
// process, so this is checked before threads are created. Only on Linux.

import { readFileSync } from 'node:fs';

/** What V8 reserves for a thread, in bytes, of which it uses little: measured with Node 20 and 24. */
const PER_THREAD = 600 * 1024 * 1024;

/**
 * @param limits in the format of /proc/self/limits
 * @param status in the format of /proc/self/status
 * @throws Error if there is not enough address space for this number of additional threads
 */
export function requireAddressSpace(
  threads: number,
  limits: string = readProcess('limits'),
  status: string = readProcess('status'),
): void {
  const limit = /^Max address space +(\d+)/m.exec(limits)?.[1];
  const used = /^VmSize:\s*(\d+) kB/m.exec(status)?.[1];
  if (limit === undefined || used === undefined) return;
  const room = Math.max(0, Math.floor((Number(limit) - Number(used) * 1024) / PER_THREAD));
  if (room >= threads) return;
  throw new Error(
    `the limit on address space (ulimit -v) has room for ${room} more threads, ${threads} are needed; a thread reserves 600 MiB`,
  );
}

function readProcess(file: string): string {
  try {
    return readFileSync(`/proc/self/${file}`, 'utf8');
  } catch {
    return '';
  }
}
