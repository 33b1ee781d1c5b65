// Loaded into a process before its program: says at its end how much memory it had at most. Linux counts in
// `resourceUsage().maxRSS` what the parent had when it forked, too: only its own status tells of the process alone.
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
