// prom-client's figures of the process: CPU, memory, open files, garbage collection, delay of the event loop.

import { collectDefaultMetrics, Registry } from 'prom-client';

/**
 * Read through private functions of Node, `process._getActiveHandles` and its neighbour, which have ended a busy
 * process with an assertion in native code. `nodejs_active_resources` counts the same by a documented function.
 */
const UNSAFE = [
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
];

let registry: Registry | undefined;

/** Made once a process, when first asked for: the observers behind it cannot be taken down again. */
export function processMetrics(): Registry {
  if (registry === undefined) {
    registry = new Registry();
    collectDefaultMetrics({ register: registry });
    for (const name of UNSAFE) registry.removeSingleMetric(name);
  }
  return registry;
}
