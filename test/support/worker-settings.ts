// Settings for workers that a test starts itself: the protocol's own messages, with patterns, without an age limit.

import { NO_SEED } from '#src/messages/job-key.js';

export const WORKER_SETTINGS = {
  schemas: undefined,
  framing: 'auto',
  delimiter: 10,
  maxMessageSize: 1 << 20,
  maxMessageAge: 0,
  maxClockSkew: 0,
  patterns: 'on',
  maxLearnedLayouts: 16,
  validation: 'enforce',
  jobSeed: NO_SEED,
} as const;
