// The handling of messages: the functions to call, their order, and the outcome. A Handling is about one message, a
// BatchHandling about consecutive messages of one connection.

import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { OutgoingMessage } from '../messages/messages.js';
import type { BatchHandler, HandlerContext, MessageHandler } from './handler.js';
import type { Middleware, ProcessOutcome } from './middleware.js';

/** The function that failed, of a handler or a middleware. */
export type HandlerPhase =
  | 'beforeProcess'
  | 'canHandle'
  | 'handle'
  | 'handleBatch'
  | 'handleGap'
  | 'afterProcess'
  | 'afterSend';

/** Statistics of one message type. */
export interface TypeStatistics {
  /** Messages with a registered handler. */
  received: number;
  /** Messages whose handlers have all completed. */
  handled: number;
  failed: number;
  /** Messages whose handlers were skipped by a `beforeProcess`. */
  skipped: number;
  /** Total handling time, in ms. The time of messages that were handled together counts once. */
  duration: number;
}

/** A registered handler of any type. */
export type AnyHandler = MessageHandler<string> | BatchHandler<string>;

/** The handlers of a message, in calling order. Types without handlers of their own share one object. */
export interface HandlerList {
  readonly handlers: readonly AnyHandler[];
  /** Whether one of them handles messages together. */
  readonly hasBatchHandler: boolean;
  readonly steps: readonly Step[];
}

/** Calls one function. */
export type Step = (handling: Handling) => unknown;

/** The functions to call with messages of one type, in order. */
export interface Plan {
  readonly list: HandlerList;
  readonly before: readonly Step[];
  readonly after: readonly Step[];
  /** All of them, and the index of the first one after the handlers. */
  readonly steps: readonly Step[];
  readonly handlersEnd: number;
  readonly statistics: TypeStatistics;
}

/** @param handlers in calling order */
export function handlerList(handlers: readonly AnyHandler[]): HandlerList {
  const steps = handlers.map((handler): Step => {
    return (handling) => {
      handling.phase = 'canHandle';
      if (handler.canHandle?.(handling.event) === false) return undefined;
      handling.phase = 'handle';
      return handler.handle?.(handling.event, handling);
    };
  });
  return { handlers, steps, hasBatchHandler: handlers.some(({ handleBatch }) => handleBatch !== undefined) };
}

export function makePlan(list: HandlerList, chain: readonly Middleware[], statistics: TypeStatistics): Plan {
  const before = chain
    .filter(({ beforeProcess }) => beforeProcess)
    .map((middleware): Step => {
      return (handling) => {
        handling.phase = 'beforeProcess';
        return middleware.beforeProcess?.(handling.event);
      };
    });
  const after = chain
    .filter(({ afterProcess }) => afterProcess)
    .toReversed()
    .map((middleware): Step => {
      return (handling) => {
        handling.phase = 'afterProcess';
        return middleware.afterProcess?.(handling.event, handling.outcome);
      };
    });
  const steps = [...before, ...list.steps, ...after];
  return { list, before, after, steps, handlersEnd: steps.length - after.length, statistics };
}

type Send = (connection: SocketConnection, message: OutgoingMessage) => Promise<void>;

/** Calls to make one after the other, each when the promise of the one before has settled. */
export interface CallSequence {
  /** The function that is being called. */
  readonly phase: HandlerPhase;
  /** The message that it is called with; `undefined` if there are several. */
  readonly event: MessageEvent | undefined;
  /** The messages that it is called with, if there are several. */
  readonly events: readonly MessageEvent[] | undefined;
  /** Calls the next function. @returns what it returned; {@link FINISHED} if there are no more */
  callNext(): unknown;
  /** Records what the function returned, or what its promise resolved with. */
  settle(value: unknown): void;
  /** Records that the function threw, or that its promise rejected. The remaining handlers are still called. */
  fail(): void;
  /** Adds the outcome to the statistics. */
  finish(): void;
}

export const FINISHED = Symbol('finished');

export class Handling implements HandlerContext, CallSequence {
  readonly event: MessageEvent;
  readonly plan: Plan;
  phase: HandlerPhase = 'beforeProcess';
  /** In ms of the monotonic clock; 0 before the first call. */
  startedAt = 0;
  /** Whether no further handlers are to be called. */
  isStopped = false;
  readonly #send: Send;
  /** Index of the next step. */
  #next = 0;
  #status: ProcessOutcome['status'] = 'handled';
  #outcome: ProcessOutcome | undefined = undefined;

  constructor(event: MessageEvent, plan: Plan, send: Send) {
    this.event = event;
    this.plan = plan;
    this.#send = send;
  }

  get connection(): SocketConnection {
    return this.event.connection;
  }

  get events(): undefined {
    return undefined;
  }

  /** The outcome, once the handlers have finished. */
  get outcome(): ProcessOutcome {
    this.#outcome ??= { status: this.#status, duration: performance.now() - this.startedAt };
    return this.#outcome;
  }

  // Functions that handlers may destructure from their context. Created when they are read, since few handlers do.
  get reply(): HandlerContext['reply'] {
    return (message) => this.#send(this.connection, message as OutgoingMessage);
  }

  get stop(): HandlerContext['stop'] {
    return () => {
      this.isStopped = true;
    };
  }

  callNext(): unknown {
    if (this.startedAt === 0) this.startedAt = performance.now();
    const { steps, handlersEnd } = this.plan;
    if (this.isStopped && this.#next < handlersEnd) this.#next = handlersEnd;
    const step = steps[this.#next++];
    return step === undefined ? FINISHED : step(this);
  }

  settle(value: unknown): void {
    if (value !== false || this.phase !== 'beforeProcess') return;
    this.#status = 'skipped';
    this.isStopped = true;
  }

  fail(): void {
    if (this.phase === 'afterProcess') return;
    this.#status = 'failed';
    if (this.phase === 'beforeProcess') this.isStopped = true;
  }

  finish(): void {
    this.count(this.outcome.duration);
  }

  /** Adds the outcome to the statistics. @param duration in ms */
  count(duration: number): void {
    const { statistics } = this.plan;
    statistics[this.#status]++;
    statistics.duration += duration;
  }
}

/** Maximum number of messages that are handled together. */
const MAX_BATCH = 1000;

/**
 * The handling of consecutive messages with the same handlers, of which at least one has `handleBatch`. Each handler
 * processes all messages before the next one is called.
 */
export class BatchHandling implements CallSequence {
  phase: HandlerPhase = 'beforeProcess';
  event: MessageEvent | undefined;
  events: readonly MessageEvent[] | undefined;
  readonly list: HandlerList;
  readonly #send: Send;
  readonly #messages: MessageEvent[] = [];
  readonly #plans: Plan[] = [];
  /** One for each message; empty if nothing is called with single messages. */
  #all: readonly Handling[] = [];
  readonly #calls = this.#callAll();
  /** The messages of the current call. */
  #current: readonly Handling[] = [];
  /** What the current function returned. */
  #result: unknown;
  #hasFailed = false;
  #startedAt = 0;

  constructor(list: HandlerList, send: Send) {
    this.list = list;
    this.#send = send;
  }

  get isFull(): boolean {
    return this.#messages.length === MAX_BATCH;
  }

  add(event: MessageEvent, plan: Plan): void {
    this.#messages.push(event);
    this.#plans.push(plan);
  }

  callNext(): unknown {
    const { done, value } = this.#calls.next();
    return done === true ? FINISHED : value();
  }

  settle(value: unknown): void {
    this.#result = value;
    for (const handling of this.#current) handling.settle(value);
  }

  fail(): void {
    this.#result = undefined;
    this.#hasFailed = true;
    for (const handling of this.#current) handling.fail();
  }

  finish(): void {
    const share = (performance.now() - this.#startedAt) / this.#messages.length;
    for (const handling of this.#all) handling.count(share);
    if (this.#all.length > 0) return;
    for (const { statistics } of this.#plans) {
      statistics[this.#hasFailed ? 'failed' : 'handled']++;
      statistics.duration += share;
    }
  }

  /** The calls to make. Each is made before the next one is requested. */
  *#callAll(): Generator<() => unknown, void, void> {
    this.#startedAt = performance.now();
    const [only, another] = this.list.handlers;
    if (only?.handleBatch !== undefined && another === undefined && this.#hasNoSingleCalls(only)) {
      yield () => this.#call(only, this.#messages, []);
      return;
    }
    this.#all = this.#messages.map((event, index) => new Handling(event, this.#planOf(index), this.#send));
    for (const handling of this.#all) {
      handling.startedAt = this.#startedAt;
      for (const step of handling.plan.before) if (!handling.isStopped) yield this.#callWith(handling, step);
    }
    for (const [index, handler] of this.list.handlers.entries()) {
      const step = this.list.steps[index];
      if (handler.handleBatch !== undefined) yield* this.#callBatch(handler);
      else
        for (const handling of this.#all)
          if (step && !handling.isStopped) yield this.#callWith(handling, step);
    }
    for (const handling of this.#all)
      for (const step of handling.plan.after) yield this.#callWith(handling, step);
  }

  *#callBatch(handler: BatchHandler<string>): Generator<() => unknown, void, void> {
    const handled: Handling[] = [];
    for (const handling of this.#all) {
      if (handling.isStopped) continue;
      if (handler.canHandle !== undefined) {
        yield this.#callWith(handling, () => {
          handling.phase = 'canHandle';
          return handler.canHandle?.(handling.event) !== false;
        });
        if (this.#result !== true) continue;
      }
      handled.push(handling);
    }
    if (handled.length === 0) return;
    const messages = handled.map(({ event }) => event);
    yield () => this.#call(handler, messages, handled);
  }

  /** Calls a handler with several messages. @param handled their handlings; empty if there are none */
  #call(
    handler: BatchHandler<string>,
    messages: readonly MessageEvent[],
    handled: readonly Handling[],
  ): unknown {
    const [first] = messages;
    if (first === undefined) return undefined;
    this.phase = 'handleBatch';
    this.event = undefined;
    this.events = messages;
    this.#current = handled;
    for (const handling of handled) handling.phase = 'handleBatch';
    const { connection } = first;
    return handler.handleBatch(messages, {
      connection,
      reply: (message) => this.#send(connection, message as OutgoingMessage),
      stop: () => {
        for (const handling of handled) handling.isStopped = true;
      },
    });
  }

  /** Whether neither middleware nor `canHandle` is called with each message. */
  #hasNoSingleCalls({ canHandle }: BatchHandler<string>): boolean {
    const { before, after } = this.#planOf(0);
    return canHandle === undefined && before.length === 0 && after.length === 0;
  }

  #planOf(index: number): Plan {
    return this.#plans[index] as Plan;
  }

  #callWith(handling: Handling, step: Step): () => unknown {
    return () => {
      this.event = handling.event;
      this.events = undefined;
      this.#current = [handling];
      try {
        return step(handling);
      } finally {
        this.phase = handling.phase;
      }
    };
  }
}
