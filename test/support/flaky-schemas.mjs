// A schema module that can be loaded while the file named by SLUICE_TEST_FLAG is there.
import { existsSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import * as z from 'zod';

if (!isMainThread && !existsSync(process.env.SLUICE_TEST_FLAG)) throw new Error('not now');

export const schemas = { deadly: z.object({ type: z.literal('deadly') }) };

export const rules = {
  deadly() {
    process.exit(1);
  },
};
