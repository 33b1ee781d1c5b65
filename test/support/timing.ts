// How long things take, for tests that compare two times in one run: what takes linear time, what does not grow.

const ROUNDS = 5;
/** Comparisons take more rounds: what disturbs one of two would look like a difference. */
const COMPARED_ROUNDS = 9;

/** CPU time of a run, in ms: what else the machine does is not in it. */
function timeOf(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** The shortest of a few times, in ms of CPU time. */
export function shortestTime(run: () => void): number {
  return Math.min(...Array.from({ length: ROUNDS }, () => timeOf(run)));
}

/** How many times as long one thing takes as another: the shortest times of both, which run in turn. */
export function timeRatio(run: () => void, other: () => void): number {
  let [shortest, shortestOther] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < COMPARED_ROUNDS; round++) {
    shortest = Math.min(shortest, timeOf(run));
    shortestOther = Math.min(shortestOther, timeOf(other));
  }
  return shortest / shortestOther;
}
