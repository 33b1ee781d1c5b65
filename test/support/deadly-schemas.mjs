// A rule that ends its worker thread, as running out of memory would.
import * as z from 'zod';

export const schemas = { deadly: z.object({ type: z.literal('deadly') }) };

export const rules = {
  deadly() {
    process.exit(1);
  },
};
