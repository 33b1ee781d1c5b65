// The messages of examples/custom-protocol.mjs. The validation workers load this file, so it must not have side
// effects.

import * as z from 'zod';

export const schemas = {
  /** crawler → application: a page was fetched. */
  page_fetched: z.object({
    type: z.literal('page_fetched'),
    url: z.url({ protocol: /^https?$/ }),
    status: z.int().min(100).max(599),
    bytes: z.int().min(0),
    links: z
      .array(z.url({ protocol: /^https?$/ }))
      .max(1000)
      .default([]),
  }),
  /** application → crawler: fetch this page next. */
  fetch_page: z.object({ type: z.literal('fetch_page'), url: z.url() }),
};

export const rules = {
  page_fetched({ status, bytes }, report) {
    if (status === 204 && bytes > 0) report('bytes', 'not_empty', 'must be 0 when there is no content');
  },
};

export const directions = { page_fetched: 'crawler', fetch_page: 'app' };
