// How long things take, for tests that compare two times in one run: what takes linear time, what does not grow.

const ROUNDS = 5;

/** The shortest of a few times, in ms of CPU time: what else the machine does is not in it. */
export function shortestTime(run: () => void): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    shortest = Math.min(shortest, (user + system) / 1000);
  }
  return shortest;
}
