// A rule that occasionally takes long, so that a later batch overtakes an earlier one.
import { crawlerSchemas } from 'sluice/messages';

const SLOW_MS = 2;

export const schemas = { job_failed: crawlerSchemas.job_failed };

export const rules = {
  job_failed(message) {
    if (message.data.retryCount !== 0) return;
    const until = performance.now() + SLOW_MS;
    while (performance.now() < until);
  },
};
