// Message types as users define them, with what zod has beyond the built-in messages: formats, refinements, discriminated
// unions, records and transformations. Sluice loads this file with --schemas; the plain Node server validates with it too.

import * as z from 'zod';

const envelope = {
  timestamp: z.iso.datetime({ offset: true }),
  jobId: z.string().min(3),
};

const item = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('issue'),
    title: z.string().max(500),
    labels: z.array(z.string()),
    weight: z.int(),
  }),
  z.object({ kind: z.literal('commit'), sha: z.string().length(40), additions: z.int(), deletions: z.int() }),
  z.object({ kind: z.literal('comment'), body: z.string(), parent: z.uuid().nullable() }),
]);

export const schemas = {
  page_fetched: z.object({
    type: z.literal('page_fetched'),
    ...envelope,
    data: z.object({
      requestId: z.uuid(),
      url: z.url(),
      method: z.enum(['GET', 'HEAD', 'POST']),
      status: z.int().min(100).max(599),
      headers: z.record(z.string(), z.string()),
      bytes: z.number().refine((bytes) => bytes % 1 === 0, 'whole bytes only'),
      contact: z.email().optional(),
    }),
  }),
  item_extracted: z.object({
    type: z.literal('item_extracted'),
    ...envelope,
    data: z.object({ id: z.uuid(), author: z.email(), updatedAt: z.iso.datetime({ offset: true }), item }),
  }),
  crawl_metrics: z.object({
    type: z.literal('crawl_metrics'),
    ...envelope,
    data: z
      .object({
        counters: z.record(z.string(), z.int().min(0)),
        ratio: z.string().transform(Number),
        from: z.int(),
        to: z.int(),
      })
      .refine(({ from, to }) => from <= to, 'from must not exceed to'),
  }),
};
