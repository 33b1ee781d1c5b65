// Time limits as a user gives them: ms, or Infinity for none. Node's own timers take the latter for 1 ms.

import { MAX_TIMER } from '../config/defaults.js';
import { SluiceError } from '../errors.js';

/**
 * Checks a time to wait.
 * @throws SluiceError `INVALID_OPTION`: no timer can wait so long
 */
export function checkDelay(name: string, ms: number): void {
  if (ms > 0 && ms <= MAX_TIMER) return;
  throw new SluiceError('INVALID_OPTION', `${name}: must be more than 0, and at most ${MAX_TIMER}`);
}

/**
 * Checks a time limit: like a time to wait, or `Infinity`.
 * @throws SluiceError `INVALID_OPTION`
 */
export function checkTimeout(name: string, ms: number): void {
  if (ms !== Number.POSITIVE_INFINITY) checkDelay(name, ms);
}

/** Calls back when the time is over. @returns the timer; none where there is no limit */
export function startTimeout(ms: number, onTimeout: () => void): NodeJS.Timeout | undefined {
  return ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimeout, ms);
}

/** Waits until a promise settles, but no longer than so many ms. */
export async function within(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = startTimeout(ms, resolve);
  });
  await Promise.race([promise.catch(() => {}), late]);
  clearTimeout(timer);
}
