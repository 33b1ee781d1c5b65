// Routes each message to the handlers of its type. Errors of handlers are caught, counted and emitted: they stop
// neither later messages nor the server.

import { PAUSE } from '../connection/connection-state.js';
import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import { SluiceError } from '../errors.js';
import type { OutgoingMessage } from '../messages/messages.js';
import { SafeEmitter } from '../safe-emitter.js';
import type { EventOf, HandledType, HandlerFunction, MessageHandler } from './handler.js';
import { type HandlerPhase, Handling, makePlan, type Plan } from './handling.js';
import { type Middleware, MiddlewareChain } from './middleware.js';
import { OrderedQueues } from './ordered-queues.js';

/** Limits of a router. */
export interface RouterOptions {
  /** Maximum number of connections with a running handler. Default: 64. */
  readonly maxConcurrent?: number | undefined;
  /** Bytes of a connection's messages queued for handlers at which reading from it pauses. Default: 1 MiB. */
  readonly maxQueuedBytes?: number | undefined;
}

/** An error of an application's function. */
export interface HandlerFailure {
  readonly error: unknown;
  readonly phase: HandlerPhase;
  /** The handled message; `undefined` for `afterSend`. */
  readonly event: MessageEvent | undefined;
}

/** Events of a router. */
export interface RouterEvents {
  /** A handler or middleware threw, or its promise rejected. */
  handler_error: [failure: HandlerFailure];
}

/** Statistics of one message type. */
export interface TypeStatistics {
  /** Messages with a registered handler. */
  received: number;
  /** Messages whose handlers have all completed. */
  handled: number;
  failed: number;
  /** Messages whose handlers were skipped by a `beforeProcess`. */
  skipped: number;
  /** Total handling time, in ms. */
  duration: number;
}

/** Statistics of a router. */
export interface RouterStatistics {
  /** Messages that are not valid (`validation: "report"`) and have no handler for their own type count under `*`. */
  readonly byType: Readonly<Record<string, Readonly<TypeStatistics>>>;
  /** Messages without a registered handler. */
  readonly unhandled: number;
  /** Errors of handlers and middleware. */
  readonly errors: number;
  /** Messages queued for handlers. */
  readonly queued: number;
  /** Messages whose handlers are running. */
  readonly running: number;
}

type AnyHandler = MessageHandler<string>;

type FieldsListener = (type: string, fields: readonly string[]) => void;

/** Estimated memory of an event in addition to its bytes, in bytes. */
const EVENT_OVERHEAD = 256;

/**
 * Calls the handlers of each message, by priority, one after the other.
 *
 * Messages of one connection are handled in order of arrival, each after the previous one is done, including promises.
 * Messages of different connections are handled concurrently, up to `maxConcurrent`. If a connection's messages arrive
 * faster than they are handled, they are queued. At `maxQueuedBytes`, reading from the connection pauses until half of
 * the queue is done: a crawler that is too fast has to wait, and no message is dropped. Data that was read before that
 * is queued in addition, at most `maxConnectionBytes`. A handler whose promise never settles blocks its own connection
 * and occupies one of `maxConcurrent`.
 */
export class MessageRouter extends SafeEmitter<RouterEvents> {
  readonly #middleware: MiddlewareChain;
  readonly #handlers = new Map<string, AnyHandler[]>();
  /** Handler objects by the function that they wrap. */
  readonly #wrapped = new WeakMap<object, AnyHandler>();
  readonly #plans = new Map<string, Plan | undefined>();
  readonly #queues: OrderedQueues<SocketConnection, Handling>;
  readonly #byType = new Map<string, TypeStatistics>();
  #unhandled = 0;
  #errors = 0;

  readonly #onRegistered: FieldsListener;
  readonly #onUnregistered: FieldsListener;

  /**
   * @param onRegistered called with each type that a handler is registered for, and the fields that it names
   * @param onUnregistered called in the same way when a handler is removed
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(
    options: RouterOptions = {},
    middleware: MiddlewareChain = new MiddlewareChain(),
    onRegistered: FieldsListener = () => {},
    onUnregistered: FieldsListener = () => {},
  ) {
    super();
    this.#onRegistered = onRegistered;
    this.#onUnregistered = onUnregistered;
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
      byType: Object.fromEntries([...this.#byType].map(([type, statistics]) => [type, { ...statistics }])),
      unhandled: this.#unhandled,
      errors: this.#errors,
      queued: this.#queues.queued,
      running: this.#queues.running,
    };
  }

  /**
   * Registers a handler. It may be registered for several types.
   * @param type a message type, or `*` for all
   * @throws SluiceError `INVALID_OPTION` if the handler's fields exceed a limit
   */
  registerHandler<T extends HandledType>(type: T, handler: MessageHandler<T> | HandlerFunction<T>): this {
    const object = this.#asObject(handler);
    this.#onRegistered(type, object.fields ?? []);
    this.#handlers.set(type, [...(this.#handlers.get(type) ?? []), object]);
    this.#plans.clear();
    return this;
  }

  /** Removes a handler. Messages that are queued already still reach it. @returns whether it was registered */
  unregisterHandler<T extends HandledType>(
    type: T,
    handler: MessageHandler<T> | HandlerFunction<T>,
  ): boolean {
    const list = this.#handlers.get(type) ?? [];
    const object = this.#asObject(handler);
    const at = list.indexOf(object);
    if (at === -1) return false;
    this.#onUnregistered(type, object.fields ?? []);
    this.#handlers.set(type, list.toSpliced(at, 1));
    this.#plans.clear();
    return true;
  }

  /** Adds middleware around all messages. */
  use(middleware: Middleware): this {
    this.#middleware.use(middleware);
    this.#plans.clear();
    return this;
  }

  /** Calls the handlers of a message, now or when its turn comes. */
  dispatch(event: MessageEvent): void {
    const plan = this.#planFor(event.type);
    if (plan === undefined) {
      this.#unhandled++;
      return;
    }
    this.#statisticsOf(event).received++;
    const handling = new Handling(event, plan, this.#send);
    this.#queues.push(event.connection, handling, event.size + EVENT_OVERHEAD);
  }

  /** Resolves when all dispatched messages are handled. */
  idle(): Promise<void> {
    return this.#queues.idle();
  }

  /** Resolves when all dispatched messages of this connection are handled. */
  idleOf(connection: SocketConnection): Promise<void> {
    return this.#queues.idleOf(connection);
  }

  /** Counts an error of an application's function and emits `handler_error`. */
  recordError(failure: HandlerFailure): void {
    this.#errors++;
    this.emitSafely('handler_error', failure);
  }

  /** @internal An error of an error listener is only counted. */
  protected override onListenerError(): void {
    this.#errors++;
  }

  /** The handler as an object: always the same one for a function, so that it can be unregistered. */
  #asObject<T extends string>(handler: MessageHandler<T> | HandlerFunction<T>): AnyHandler {
    // Safe cast: a handler is only called with events of the types it is registered for.
    if (typeof handler !== 'function') return handler as unknown as AnyHandler;
    const known = this.#wrapped.get(handler);
    if (known !== undefined) return known;
    const wrapper: AnyHandler = { handle: (event, context) => handler(event as EventOf<T>, context) };
    this.#wrapped.set(handler, wrapper);
    return wrapper;
  }

  /** Sends a reply through the middleware. */
  readonly #send = (connection: SocketConnection, message: OutgoingMessage): Promise<void> =>
    this.#middleware.send(
      message,
      { kind: 'connection', connection },
      (outgoing) => connection.send(outgoing),
      (error) => this.recordError({ error, phase: 'afterSend', event: undefined }),
    );

  /** Kept per type with a handler: peers may make up other types. */
  #planFor(messageType: string): Plan | undefined {
    const type = this.#handlers.has(messageType) ? messageType : '*';
    if (this.#plans.has(type)) return this.#plans.get(type);
    const own = type === '*' ? [] : (this.#handlers.get(type) ?? []);
    const registered = [...own, ...(this.#handlers.get('*') ?? [])];
    const handlers = registered.toSorted((a, b) => (b.priority ?? 0) - (a.priority ?? 0));
    const plan = handlers.length === 0 ? undefined : makePlan(handlers, this.#middleware.inOrder);
    this.#plans.set(type, plan);
    return plan;
  }

  #statisticsOf(event: MessageEvent): TypeStatistics {
    // Peers may make up the types of messages that are not valid.
    const type = event.isValid || this.#handlers.has(event.type) ? event.type : '*';
    let statistics = this.#byType.get(type);
    if (statistics === undefined) {
      statistics = { received: 0, handled: 0, failed: 0, skipped: 0, duration: 0 };
      this.#byType.set(type, statistics);
    }
    return statistics;
  }

  /** Calls the functions one after the other. Returns a promise only if one of them does. */
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
    const statistics = this.#statisticsOf(handling.event);
    statistics[handling.outcome.status]++;
    statistics.duration += handling.outcome.duration;
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
