// Resources that are started once for several tests.

import { afterAll, beforeAll } from 'vitest';

/**
 * Registers a clean-up function for when a resource is no longer needed; by default, at the end of the current test.
 */
export type WhenOver = (cleanUp: () => void | Promise<void>) => void;

/** Starts a resource once for all tests of a describe block or file. Tests get it from the returned function. */
export function share<T>(start: (whenOver: WhenOver) => T | Promise<T>): () => T {
  let shared: { readonly value: T } | undefined;
  const cleanUps: Parameters<WhenOver>[0][] = [];
  beforeAll(async () => {
    shared = { value: await start((cleanUp) => void cleanUps.unshift(cleanUp)) };
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });
  return () => {
    if (shared === undefined) throw new Error('used before the tests started');
    return shared.value;
  };
}
