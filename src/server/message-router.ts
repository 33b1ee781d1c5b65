// Gives each message to the handlers of its type. What a handler does wrong is caught, counted and told: it stops
// neither the messages behind it nor the server.

import { EventEmitter } from 'node:events';
import { PAUSE } from '../connection/connection-state.js';
import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import { SluiceError } from '../errors.js';
import type { OutgoingMessage } from '../messages/messages.js';
import type { EventOf, HandledType, HandlerFunction, MessageHandler } from './handler.js';
import { type HandlerPhase, Handling, makePlan, type Plan } from './handling.js';
import { type Middleware, MiddlewareChain } from './middleware.js';
import { OrderedQueues } from './ordered-queues.js';

/** Bounds of a router. */
export interface RouterOptions {
  /** Connections that may have a handler under way at a time; default 64. */
  readonly maxConcurrent?: number | undefined;
  /** Bytes of one connection's messages that may wait for handlers, before no more is read from it; default 1 MiB. */
  readonly maxQueuedBytes?: number | undefined;
}

/** What an application's function has done wrong. */
export interface HandlerFailure {
  readonly error: unknown;
  readonly phase: HandlerPhase;
  /** The message that was handled; none for `afterSend`. */
  readonly event: MessageEvent | undefined;
}

/** Events of a router. */
export interface RouterEvents {
  /** A handler or a middleware has thrown or rejected. */
  handler_error: [failure: HandlerFailure];
}

/** Figures of one message type. */
export interface TypeStatistics {
  /** Messages that some handler was registered for. */
  received: number;
  /** Those whose handlers have all come to their end. */
  handled: number;
  failed: number;
  /** Those that a `beforeProcess` kept from the handlers. */
  skipped: number;
  /** ms that they took together. */
  duration: number;
}

/** Figures of a router. */
export interface RouterStatistics {
  readonly byType: Readonly<Record<string, Readonly<TypeStatistics>>>;
  /** Messages that no handler was registered for. */
  readonly unhandled: number;
  /** What handlers and middleware have thrown. */
  readonly errors: number;
  /** Messages that wait for handlers. */
  readonly queued: number;
  /** Messages whose handlers are under way. */
  readonly running: number;
}

type AnyHandler = MessageHandler<string>;

/** What an event weighs beside its bytes. */
const EVENT_OVERHEAD = 256;

/**
 * Calls the handlers of each message, by priority, one after the other.
 *
 * Messages of one connection are handled in the order they came, each when the one before it is done, promises
 * included. Messages of different connections are handled side by side, `maxConcurrent` at a time. When a connection's
 * messages come faster than its handlers are, they wait, and from `maxQueuedBytes` on nothing more is read from the
 * connection, until half of them is done: so a crawler that is too fast has to wait, and no message is dropped. What
 * had been read before that still comes on top, `maxConnectionBytes` at most. A handler whose promise never settles
 * stops its own connection, and takes up one of `maxConcurrent`.
 */
export class MessageRouter extends EventEmitter<RouterEvents> {
  readonly #middleware: MiddlewareChain;
  readonly #handlers = new Map<string, AnyHandler[]>();
  /** The object that was made of a handler function. */
  readonly #wrapped = new WeakMap<object, AnyHandler>();
  readonly #plans = new Map<string, Plan | undefined>();
  readonly #queues: OrderedQueues<SocketConnection, Handling>;
  readonly #byType = new Map<string, TypeStatistics>();
  #unhandled = 0;
  #errors = 0;

  /** @throws SluiceError `INVALID_OPTION` */
  constructor(options: RouterOptions = {}, middleware: MiddlewareChain = new MiddlewareChain()) {
    super();
    const { maxConcurrent = 64, maxQueuedBytes = 1024 * 1024 } = options;
    for (const [name, value] of Object.entries({ maxConcurrent, maxQueuedBytes })) {
      if (!(value > 0)) throw new SluiceError('INVALID_OPTION', `${name}: must be more than 0`);
    }
    this.#middleware = middleware;
    this.#queues = new OrderedQueues(
      { maxConcurrent, maxQueued: maxQueuedBytes },
      {
        run: (handling) => this.#run(handling),
        onFull: (connection, isFull) => connection.setPaused(PAUSE.HANDLERS, isFull),
      },
    );
  }

  get statistics(): RouterStatistics {
    return {
      byType: Object.fromEntries([...this.#byType].map(([type, figures]) => [type, { ...figures }])),
      unhandled: this.#unhandled,
      errors: this.#errors,
      queued: this.#queues.queued,
      running: this.#queues.running,
    };
  }

  /**
   * Registers a handler; the same one may be registered for several types.
   * @param type a message type, or `*` for all
   */
  registerHandler<T extends HandledType>(type: T, handler: MessageHandler<T> | HandlerFunction<T>): this {
    const list = [...(this.#handlers.get(type) ?? []), this.#asObject(handler)];
    this.#handlers.set(type, list);
    this.#plans.clear();
    return this;
  }

  /** Takes a handler back. Messages that wait already still come to it. @returns whether it was there */
  unregisterHandler<T extends HandledType>(
    type: T,
    handler: MessageHandler<T> | HandlerFunction<T>,
  ): boolean {
    const list = this.#handlers.get(type) ?? [];
    const at = list.indexOf(this.#asObject(handler));
    if (at === -1) return false;
    this.#handlers.set(type, list.toSpliced(at, 1));
    this.#plans.clear();
    return true;
  }

  /** Adds functions around all messages. */
  use(middleware: Middleware): this {
    this.#middleware.use(middleware);
    this.#plans.clear();
    return this;
  }

  /** Takes a message: its handlers are called now, or when its turn comes. */
  dispatch(event: MessageEvent): void {
    const plan = this.#planFor(event.type);
    if (plan === undefined) {
      this.#unhandled++;
      return;
    }
    this.#figuresOf(event.type).received++;
    const handling = new Handling(event, plan, this.#send);
    this.#queues.push(event.connection, handling, event.raw.length + EVENT_OVERHEAD);
  }

  /** Resolves when all messages that were taken are handled. */
  idle(): Promise<void> {
    return this.#queues.idle();
  }

  /** Resolves when all messages that were taken from this connection are handled. */
  idleOf(connection: SocketConnection): Promise<void> {
    return this.#queues.idleOf(connection);
  }

  /** Counts something that went wrong in an application's function, and tells of it. */
  recordError(failure: HandlerFailure): void {
    this.#errors++;
    try {
      this.emit('handler_error', failure);
    } catch {
      // Who is told of errors made one: that is counted, and enough.
      this.#errors++;
    }
  }

  /** Handlers by object: what was registered as a function is found again by that function. */
  #asObject<T extends string>(handler: MessageHandler<T> | HandlerFunction<T>): AnyHandler {
    // Each is only called with events of the types it was registered for.
    if (typeof handler !== 'function') return handler as unknown as AnyHandler;
    const known = this.#wrapped.get(handler);
    if (known !== undefined) return known;
    const made: AnyHandler = { handle: (event, context) => handler(event as EventOf<T>, context) };
    this.#wrapped.set(handler, made);
    return made;
  }

  /** Sends an answer through the middleware. */
  readonly #send = (connection: SocketConnection, message: OutgoingMessage): Promise<void> =>
    this.#middleware.send(
      message,
      { kind: 'connection', connection },
      (outgoing) => connection.send(outgoing),
      (error) => this.recordError({ error, phase: 'afterSend', event: undefined }),
    );

  #planFor(type: string): Plan | undefined {
    if (this.#plans.has(type)) return this.#plans.get(type);
    const registered = [...(this.#handlers.get(type) ?? []), ...(this.#handlers.get('*') ?? [])];
    const handlers = registered.toSorted((a, b) => (b.priority ?? 0) - (a.priority ?? 0));
    const plan = handlers.length === 0 ? undefined : makePlan(handlers, this.#middleware.inOrder);
    this.#plans.set(type, plan);
    return plan;
  }

  #figuresOf(type: string): TypeStatistics {
    let figures = this.#byType.get(type);
    if (figures === undefined) {
      figures = { received: 0, handled: 0, failed: 0, skipped: 0, duration: 0 };
      this.#byType.set(type, figures);
    }
    return figures;
  }

  /** Calls one function after the other. There is a promise only where one of them returns one. */
  #run(handling: Handling): Promise<void> | undefined {
    for (let step = handling.next(); step !== undefined; step = handling.next()) {
      try {
        const result = step(handling);
        if (isThenable(result)) return this.#wait(handling, result);
        handling.settle(result);
      } catch (error) {
        this.#fail(handling, error);
      }
    }
    const figures = this.#figuresOf(handling.event.type);
    figures[handling.outcome.status]++;
    figures.duration += handling.outcome.duration;
    return undefined;
  }

  async #wait(handling: Handling, result: PromiseLike<unknown>): Promise<void> {
    try {
      handling.settle(await result);
    } catch (error) {
      this.#fail(handling, error);
    }
    await this.#run(handling);
  }

  #fail(handling: Handling, error: unknown): void {
    handling.fail();
    this.recordError({ error, phase: handling.phase, event: handling.event });
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
