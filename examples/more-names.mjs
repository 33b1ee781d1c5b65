// A schema module that only adds names to the protocol's lists, for crawlers that are ahead of the broker:
// `sluice serve --schemas ./more-names.mjs`. It needs no zod.

export const extend = {
  EntityType: ['wiki', 'snippet'],
  JobType: ['crawl_wiki'],
};
