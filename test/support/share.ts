// Things that are started once for several tests.

import { afterAll, beforeAll } from 'vitest';

/** Takes what is to be done when all that needs a thing is over: the present test, unless said otherwise. */
export type WhenOver = (cleanUp: () => void | Promise<void>) => void;

/** Starts something once for all tests of a describe, or of a file. What is returned gives it to a test. */
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
    if (shared === undefined) throw new Error('used before the tests have begun');
    return shared.value;
  };
}
