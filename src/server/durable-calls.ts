// Calls a durable handler: in order, one call at a time, each repeated until it succeeds.

import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../backoff.js';
import type { DurableGap, DurableHandler } from './durable-handler.js';
import type { DurableMessage } from './durable-message.js';

/** A call of a durable handler that has failed. It is repeated. */
export interface DurableFailure {
  readonly error: unknown;
  readonly phase: 'handle' | 'handleBatch' | 'handleGap';
  /** The messages that it was called with. */
  readonly messages: readonly DurableMessage[];
}

export interface DurableCallsListener {
  onFailure(failure: DurableFailure): void;
  /** Messages are missing. */
  onGap(gap: DurableGap): void;
}

/** Maximum number of messages that are handled together. */
export const MAX_HANDLED = 1000;
export const RETRY = { initialDelay: 100, maxDelay: 10_000 } as const;

export class DurableCalls {
  readonly #handler: DurableHandler;
  readonly #listener: DurableCallsListener;
  readonly #stopping: AbortSignal;

  /** @param stopping aborted when no further call is to be made */
  constructor(handler: DurableHandler, listener: DurableCallsListener, stopping: AbortSignal) {
    this.#handler = handler;
    this.#listener = listener;
    this.#stopping = stopping;
  }

  /**
   * Handles messages.
   * @param onHandled called after each call, with its last message
   * @returns false if it was stopped before all were handled
   */
  async handle(
    messages: readonly DurableMessage[],
    onHandled: (last: DurableMessage) => void,
  ): Promise<boolean> {
    const { phase, size, handle } = callsOf(this.#handler);
    for (let at = 0; at < messages.length; at += size) {
      const some = messages.slice(at, at + size);
      if (!(await this.#call(phase, some, () => handle(some)))) return false;
      onHandled(some.at(-1) as DurableMessage);
    }
    return true;
  }

  /** Reports that messages are missing. @returns false if it was stopped before the handler has accepted it */
  handleGap(gap: DurableGap): Promise<boolean> {
    this.#listener.onGap(gap);
    return this.#call('handleGap', [], () => this.#handler.handleGap?.(gap));
  }

  /** Waits, unless it is stopped. @param delay in ms */
  async pause(delay: number): Promise<void> {
    await sleep(delay, undefined, { signal: this.#stopping }).catch(() => {});
  }

  /** Calls a function until it succeeds. @returns false if it is stopped before */
  async #call(
    phase: DurableFailure['phase'],
    messages: readonly DurableMessage[],
    call: () => unknown,
  ): Promise<boolean> {
    const backoff = new Backoff(RETRY);
    while (!this.#stopping.aborted) {
      try {
        await call();
        return true;
      } catch (error) {
        this.#listener.onFailure({ error, phase, messages });
        await this.pause(backoff.next());
      }
    }
    return false;
  }
}

/** How a handler is called: with how many messages, and by which function. */
function callsOf(handler: DurableHandler) {
  if (handler.handle === undefined) {
    const handle = (messages: readonly DurableMessage[]) => handler.handleBatch(messages);
    return { phase: 'handleBatch', size: MAX_HANDLED, handle } as const;
  }
  const handle = (messages: readonly DurableMessage[]) => handler.handle(messages[0] as DurableMessage);
  return { phase: 'handle', size: 1, handle } as const;
}
