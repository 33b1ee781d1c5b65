// How long things take, for tests that compare two times in one run: what takes linear time, what does not grow.

const ROUNDS = 5;

/** The shortest of a few times, in ms: that in which the machine had least else to do. */
export function shortestTime(run: () => void): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const startedAt = performance.now();
    run();
    shortest = Math.min(shortest, performance.now() - startedAt);
  }
  return shortest;
}
