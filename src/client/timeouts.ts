// Checks delays and timeouts as a user passes them: ms, or `Infinity` for no timeout.

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
