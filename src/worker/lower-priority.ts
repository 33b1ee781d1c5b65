// Imported before all else by a worker: one that only looks into suspects gets the processor time that others leave.
// Linux alone knows priorities of threads; elsewhere the worker keeps that of the process.

import { readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { basename } from 'node:path';
import { workerData } from 'node:worker_threads';
import type { WorkerSettings } from '../dispatch/verdict.js';

/** What is added to the niceness of the process: the worker gets about a third of what another thread gets. */
const NICENESS = 5;

if ((workerData as WorkerSettings).isBackground && process.platform === 'linux') {
  try {
    const thread = Number(basename(readlinkSync('/proc/thread-self')));
    setPriority(thread, Math.min(getPriority() + NICENESS, constants.priority.PRIORITY_LOW));
  } catch {
    // Without /proc, or where it may not: it works all the same.
  }
}
