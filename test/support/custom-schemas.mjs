// A schema module as a user would write it: one custom type with one rule.
import * as z from 'zod';

export const schemas = {
  page_fetched: z.object({ type: z.literal('page_fetched'), url: z.url(), bytes: z.number() }),
};

export const rules = {
  page_fetched(message, report) {
    if (message.bytes < 0) report('bytes', 'negative', 'must not be negative');
  },
};
