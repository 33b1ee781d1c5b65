// Loaded into a process before its program: prints the peak memory of the process on exit. On Linux,
// `resourceUsage().maxRSS` includes the parent's memory at the fork, so the value is read from the process status
// instead.
import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  process.on('exit', () => {
    process.stderr.write(`peak RSS ${(peakKilobytes() / 1000).toFixed(1)} MB\n`);
  });
}

function peakKilobytes() {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS;
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]);
}
