// Measures durations for tests that compare two times within one run: for linear or constant growth.

const ROUNDS = 5;
/**
 * Comparisons need more rounds, because a disturbance of one of the two would look like a difference: threads of V8 that
 * compile or collect count, too. A real difference stays, however many rounds there are.
 */
const [COMPARED_ROUNDS, MAX_COMPARED_ROUNDS] = [9, 40];

/** CPU time of a run, in ms: excludes the other load of the machine. */
function timeOf(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/**
 * The shortest of several runs, in ms of CPU time.
 * @param enough ends with the first run that is shorter. Default: 0.
 */
export function shortestTime(run: () => void, enough = 0): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS && shortest >= enough; round++)
    shortest = Math.min(shortest, timeOf(run));
  return shortest;
}

/**
 * Ratio of the shortest times of two functions, which run alternately.
 * @param limit while the ratio is above it, there are more rounds, up to 40. Default: as few as possible.
 */
export function timeRatio(run: () => void, other: () => void, limit = Number.POSITIVE_INFINITY): number {
  let [shortest, shortestOther] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const mayBeDisturbed = () => shortest / shortestOther >= limit;
  for (let round = 0; round < COMPARED_ROUNDS || (round < MAX_COMPARED_ROUNDS && mayBeDisturbed()); round++) {
    shortest = Math.min(shortest, timeOf(run));
    shortestOther = Math.min(shortestOther, timeOf(other));
  }
  return shortest / shortestOther;
}
