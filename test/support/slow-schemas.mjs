// A rule that occasionally takes long, so that a later batch overtakes an earlier one.
import { crawlerSchemas } from 'sluice/messages';

const SLOW_MS = 2;
const never = new Int32Array(new SharedArrayBuffer(4));

export const schemas = { job_failed: crawlerSchemas.job_failed };

export const rules = {
  job_failed(message) {
    if (message.data.retryCount !== 0) return;
    // Without using the processor.
    Atomics.wait(never, 0, 0, SLOW_MS);
  },
};
