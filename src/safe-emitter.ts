// Events to application code from the middle of work that must go on: settling, closing, stopping.

import { EventEmitter } from 'node:events';

/**
 * An emitter whose listeners cannot interrupt it.
 * @typeParam M the events and their arguments
 */
export abstract class SafeEmitter<M extends Record<keyof M, unknown[]>> extends EventEmitter<M> {
  /** @internal Handles an error that a listener of {@link emitSafely} has thrown. */
  protected abstract onListenerError(error: unknown): void;

  /** @internal Emits an event. If a listener throws, those after it are not called. */
  protected emitSafely<E extends keyof M>(name: E, ...args: M[E]): void {
    try {
      // The pair of name and arguments is checked by the signature; EventEmitter's own type loses it.
      (this as EventEmitter).emit(name as string, ...args);
    } catch (error) {
      this.onListenerError(error);
    }
  }
}
