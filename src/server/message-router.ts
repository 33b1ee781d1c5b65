// Routes each message to the handlers of its type. Errors of handlers are caught, counted and emitted: they stop
// neither later messages nor the server.

import { PAUSE } from '../connection/connection-state.js';
import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import type { OutgoingMessage } from '../messages/messages.js';
import { SafeEmitter } from '../safe-emitter.js';
import type { DurableMessage } from './durable-message.js';
import type { BatchHandler, EventOf, HandledType, HandlerFunction, MessageHandler } from './handler.js';
import {
  type AnyHandler,
  BatchHandling,
  type CallSequence,
  FINISHED,
  type HandlerList,
  type HandlerPhase,
  Handling,
  handlerList,
  makePlan,
  type Plan,
  type TypeStatistics,
} from './handling.js';
import { type Middleware, MiddlewareChain } from './middleware.js';
import { OrderedQueues } from './ordered-queues.js';

/** Limits of a router. */
export interface RouterOptions {
  /** Maximum number of connections with a running handler. Default: 64. */
  readonly maxConcurrent?: number | undefined;
  /**
   * Bytes of a connection's messages queued for handlers at which reading from it pauses. Messages that arrived together
   * with them count, too, since they share memory. Default: 1 MiB.
   */
  readonly maxQueuedBytes?: number | undefined;
}

const OPTIONS: Readonly<Record<keyof RouterOptions, true>> = { maxConcurrent: true, maxQueuedBytes: true };

/** An error of an application's function. */
export interface HandlerFailure {
  readonly error: unknown;
  readonly phase: HandlerPhase;
  /** The handled message; `undefined` for `handleBatch`, `afterSend`, and durable handlers. */
  readonly event: MessageEvent | undefined;
  /** The handled messages, for `handleBatch`. */
  readonly events?: readonly MessageEvent[] | undefined;
  /** The handled messages of a durable handler. */
  readonly durable?: readonly DurableMessage[] | undefined;
}

/** Events of a router. */
export interface RouterEvents {
  /**
   * A handler or middleware threw, or its promise rejected. A server logs this without content, at most once per second,
   * type and phase, if there is no listener, or the handler is a durable one.
   */
  handler_error: [failure: HandlerFailure];
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

type FieldsListener = (type: string, fields: readonly string[]) => void;

/** Estimated memory of an event in addition to that of its run, in bytes. */
const EVENT_OVERHEAD = 256;

/**
 * Calls the handlers of each message, by priority, one after the other.
 *
 * Messages of one connection are handled in order of arrival, each after the previous one is done, including promises;
 * those with a handler that has `handleBatch`, together.
 * Messages of different connections are handled concurrently, up to `maxConcurrent`. If a connection's messages arrive
 * faster than they are handled, they are queued. At `maxQueuedBytes`, reading from the connection pauses until half of
 * the queue is done: a crawler that is too fast has to wait, and no message is dropped. Data that was read before that
 * is queued in addition, at most `maxConnectionBytes`, and so are the messages that share memory with the one that is
 * being handled. A handler whose promise never settles blocks its own connection and occupies one of `maxConcurrent`.
 */
export class MessageRouter extends SafeEmitter<RouterEvents> {
  readonly #middleware: MiddlewareChain;
  readonly #handlers = new Map<string, AnyHandler[]>();
  /** Handler objects by the function that they wrap. */
  readonly #wrapped = new WeakMap<object, AnyHandler>();
  readonly #plans = new Map<string, Plan | undefined>();
  /** The handlers for `*`, for types without handlers of their own. */
  #shared: HandlerList | undefined;
  readonly #queues: OrderedQueues<SocketConnection, Handling | BatchHandling>;
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
    requireKnownOptions(options, OPTIONS);
    const { maxConcurrent = 64, maxQueuedBytes = 1024 * 1024 } = options;
    for (const [name, value] of Object.entries({ maxConcurrent, maxQueuedBytes })) {
      if (!(value > 0)) throw new SluiceError('INVALID_OPTION', `${name}: must be more than 0`);
    }
    this.#middleware = middleware;
    this.#queues = new OrderedQueues(
      { maxConcurrent, maxQueued: maxQueuedBytes },
      {
        run: (calls) => this.#run(calls),
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
   * @throws SluiceError `INVALID_OPTION` if the handler's fields exceed a limit, or if it does not have exactly one of
   *   `handle` and `handleBatch`
   */
  registerHandler<T extends HandledType>(type: T, handler: Handler<T>): this {
    const object = this.#asObject(handler);
    if ((object.handle === undefined) === (object.handleBatch === undefined)) {
      throw new SluiceError('INVALID_OPTION', 'handler: must have either handle or handleBatch');
    }
    this.#onRegistered(type, object.fields ?? []);
    this.#handlers.set(type, [...(this.#handlers.get(type) ?? []), object]);
    this.#forgetPlans();
    return this;
  }

  /** Removes a handler. Messages that are queued already still reach it. @returns whether it was registered */
  unregisterHandler<T extends HandledType>(type: T, handler: Handler<T>): boolean {
    const list = this.#handlers.get(type) ?? [];
    const object = this.#asObject(handler);
    const at = list.indexOf(object);
    if (at === -1) return false;
    this.#onUnregistered(type, object.fields ?? []);
    this.#handlers.set(type, list.toSpliced(at, 1));
    this.#forgetPlans();
    return true;
  }

  /** Adds middleware around all messages. */
  use(middleware: Middleware): this {
    this.#middleware.use(middleware);
    this.#forgetPlans();
    return this;
  }

  /** Calls the handlers of a message, now or when its turn comes. */
  dispatch(event: MessageEvent): void {
    const plan = this.#planFor(event);
    if (plan === undefined) {
      this.#unhandled++;
      return;
    }
    plan.statistics.received++;
    const { connection } = event;
    const size = event.takeSize() + EVENT_OVERHEAD;
    if (plan.list.hasBatchHandler) this.#addToBatch(connection, event, plan, size);
    else this.#queues.push(connection, new Handling(event, plan, this.#send), size);
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

  /** @internal Called with an error of a listener of `handler_error`. */
  onFailedListener: (error: unknown) => void = () => {};

  /** @internal */
  protected override onListenerError(error: unknown): void {
    this.#errors++;
    this.onFailedListener(error);
  }

  /** The handler as an object: always the same one for a function, so that it can be unregistered. */
  #asObject<T extends string>(handler: Handler<T>): AnyHandler {
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

  /** Kept per type: peers may make up the types of messages that are not valid, so these share the plan of `*`. */
  #planFor(event: MessageEvent): Plan | undefined {
    const type = event.isValid || this.#handlers.has(event.type) ? event.type : '*';
    const known = this.#plans.get(type);
    if (known !== undefined || this.#plans.has(type)) return known;
    const list = this.#listOf(type === '*' ? [] : (this.#handlers.get(type) ?? []));
    const plan =
      list.handlers.length === 0
        ? undefined
        : makePlan(list, this.#middleware.inOrder, this.#statisticsOf(type));
    this.#plans.set(type, plan);
    return plan;
  }

  /** @param own the handlers of a type in addition to those of all types */
  #listOf(own: readonly AnyHandler[]): HandlerList {
    if (own.length === 0 && this.#shared !== undefined) return this.#shared;
    const registered = [...own, ...(this.#handlers.get('*') ?? [])];
    const list = handlerList(registered.toSorted((a, b) => (b.priority ?? 0) - (a.priority ?? 0)));
    if (own.length === 0) this.#shared = list;
    return list;
  }

  #forgetPlans(): void {
    this.#plans.clear();
    this.#shared = undefined;
  }

  /** Adds a message to the last batch of its connection, if that has the same handlers and has not been started. */
  #addToBatch(connection: SocketConnection, event: MessageEvent, plan: Plan, size: number): void {
    const last = this.#queues.last(connection);
    if (last instanceof BatchHandling && last.list === plan.list && !last.isFull) {
      last.add(event, plan);
      this.#queues.grow(connection, size);
      return;
    }
    const batch = new BatchHandling(plan.list, this.#send);
    batch.add(event, plan);
    this.#queues.pushDeferred(connection, batch, size);
  }

  #statisticsOf(type: string): TypeStatistics {
    let statistics = this.#byType.get(type);
    if (statistics === undefined) {
      statistics = { received: 0, handled: 0, failed: 0, skipped: 0, duration: 0 };
      this.#byType.set(type, statistics);
    }
    return statistics;
  }

  /** Calls the functions one after the other. Returns a promise only if one of them does. */
  #run(calls: CallSequence): Promise<void> | undefined {
    for (;;) {
      try {
        const result = calls.callNext();
        if (result === FINISHED) break;
        if (isThenable(result)) return this.#wait(calls, result);
        calls.settle(result);
      } catch (error) {
        this.#fail(calls, error);
      }
    }
    calls.finish();
    return undefined;
  }

  async #wait(calls: CallSequence, result: PromiseLike<unknown>): Promise<void> {
    try {
      calls.settle(await result);
    } catch (error) {
      this.#fail(calls, error);
    }
    await this.#run(calls);
  }

  #fail(calls: CallSequence, error: unknown): void {
    calls.fail();
    const { phase, event, events } = calls;
    this.recordError(events === undefined ? { error, phase, event } : { error, phase, event, events });
  }
}

/** A handler in one of its forms. */
type Handler<T extends string> = MessageHandler<T> | BatchHandler<T> | HandlerFunction<T>;

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
