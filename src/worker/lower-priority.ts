// Imported by a worker before all else: lowers the priority of a background worker, such as the quarantine worker. Only
// Linux supports priorities per thread; on other systems the worker keeps the priority of the process.

import { readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { basename } from 'node:path';
import { workerData } from 'node:worker_threads';
import type { WorkerSettings } from '../dispatch/verdict.js';

/** Added to the niceness of the process: the worker gets about a third of the processor time of another thread. */
const NICENESS = 5;

if ((workerData as WorkerSettings).isBackground && process.platform === 'linux') {
  try {
    const thread = Number(basename(readlinkSync('/proc/thread-self')));
    setPriority(thread, Math.min(getPriority() + NICENESS, constants.priority.PRIORITY_LOW));
  } catch {
    // Without /proc or permission, the worker keeps its priority.
  }
}
