// Timeouts as a user passes them: ms, or Infinity for none, which Node's own timers would treat as 1 ms.

import { MAX_TIMER } from '../config/defaults.js';
import { SluiceError } from '../errors.js';

/**
 * Checks a delay.
 * @throws SluiceError `INVALID_OPTION` if it is not positive, or longer than any timer
 */
export function checkDelay(name: string, ms: number): void {
  if (ms > 0 && ms <= MAX_TIMER) return;
  throw new SluiceError('INVALID_OPTION', `${name}: must be more than 0, and at most ${MAX_TIMER}`);
}

/**
 * Checks a timeout: a delay, or `Infinity`.
 * @throws SluiceError `INVALID_OPTION`
 */
export function checkTimeout(name: string, ms: number): void {
  if (ms !== Number.POSITIVE_INFINITY) checkDelay(name, ms);
}

/** Calls back after the timeout. @returns the timer; `undefined` if there is no limit */
export function startTimeout(ms: number, onTimeout: () => void): NodeJS.Timeout | undefined {
  return ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimeout, ms);
}

/** Waits until a promise settles, but at most for this time, in ms. */
export async function waitAtMost(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<void>((resolve) => {
    timer = startTimeout(ms, resolve);
  });
  await Promise.race([promise.catch(() => {}), expired]);
  clearTimeout(timer);
}
