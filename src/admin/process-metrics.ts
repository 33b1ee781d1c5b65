// prom-client's figures of the process: CPU, memory, open files, garbage collection, delay of the event loop.

import { collectDefaultMetrics, Registry } from 'prom-client';

let registry: Registry | undefined;

/** Made once a process, when first asked for: the observers behind it cannot be taken down again. */
export function processMetrics(): Registry {
  if (registry === undefined) {
    registry = new Registry();
    collectDefaultMetrics({ register: registry });
  }
  return registry;
}
