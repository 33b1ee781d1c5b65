// Timeouts in ms. `Infinity` means no timeout; Node's own timers would treat it as 1 ms.

/** Calls back after the timeout. @returns the timer; `undefined` if there is no limit */
export function startTimeout(ms: number, onTimeout: () => void): NodeJS.Timeout | undefined {
  return ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimeout, ms);
}

/**
 * Settles like the promise or, after the timeout, with the return value or error of `onTimeout`. If the promise is
 * rejected later, that is ignored.
 */
export async function withTimeout<T>(promise: Promise<T>, ms: number, onTimeout: () => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<void>((resolve) => {
    timer = startTimeout(ms, resolve);
  });
  try {
    return await Promise.race([promise, expired.then(onTimeout)]);
  } finally {
    clearTimeout(timer);
  }
}
