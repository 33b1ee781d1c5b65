// Loaded into a process before its program: says at its end how much memory it had at most.
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  process.on('exit', () => {
    process.stderr.write(`peak RSS ${(process.resourceUsage().maxRSS / 1000).toFixed(1)} MB\n`);
  });
}
