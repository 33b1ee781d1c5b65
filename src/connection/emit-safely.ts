// Events to code in this process. What a listener throws is told, and stops nothing: the broker emits in the
// middle of settling, closing and stopping, and what comes after must come.

import type { EventEmitter } from 'node:events';

/** What listeners are called with, by the name of the event. */
type Events<M> = Record<keyof M, [event: unknown]>;

/**
 * Emits an event.
 * @param onError called with what a listener throws; the listeners after it are not called
 */
export function emitSafely<M extends Events<M>, E extends keyof M>(
  emitter: EventEmitter<M>,
  name: E,
  event: M[E][0],
  onError: (error: unknown) => void,
): void {
  try {
    // The pair of name and event is checked by the signature; EventEmitter's own type loses it.
    (emitter as EventEmitter).emit(name as string, event);
  } catch (error) {
    onError(error);
  }
}
