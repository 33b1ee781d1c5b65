// The durable handlers of a server: they run while it does.

import type { Fleet } from '../fleet/fleet.js';
import type { MessageLog } from '../log/message-log.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { Filter, type SubscribeData } from '../routing/filter.js';
import { withTimeout } from '../timeout.js';
import { type DurableHandler, invalidHandler, subscriptionOf } from './durable-handler.js';
import { FleetHandlerRunner } from './fleet-handler-runner.js';
import { LogHandlerRunner, type LogHandlerRunnerListener } from './log-handler-runner.js';

/** Where the messages of durable handlers come from. */
export interface DurableSources {
  readonly log: MessageLog;
  readonly fleet: Fleet | undefined;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
}

/** Since each has a reader of the engine of its own, and subscribers need some too. */
const MAX_FLEET_HANDLERS = 32;

export class DurableHandlers {
  readonly #registered: { readonly handler: DurableHandler; readonly data: SubscribeData }[] = [];
  #runners: (LogHandlerRunner | FleetHandlerRunner)[] = [];

  /** @throws SluiceError `INVALID_OPTION` */
  add(handler: DurableHandler): void {
    const data = subscriptionOf(handler);
    const ofScope = this.#registered.filter((other) => other.data.scope === data.scope);
    if (data.cursor !== undefined && ofScope.some((other) => other.data.cursor === data.cursor))
      throw invalidHandler('cursor: belongs to another handler');
    if (data.scope === 'fleet' && ofScope.length === MAX_FLEET_HANDLERS)
      throw invalidHandler(`scope: at most ${MAX_FLEET_HANDLERS} handlers can have fleet`);
    this.#registered.push({ handler, data });
  }

  /** Determines where each handler begins: messages that are stored from now on are new. */
  open({ log, fleet, registry, delimiter }: DurableSources, listener: LogHandlerRunnerListener): void {
    this.#runners = this.#registered.map(({ handler, data }) => {
      if (data.scope !== 'fleet' || fleet === undefined)
        return new LogHandlerRunner(handler, data, log, registry, delimiter, listener);
      const filter = new Filter(registry, data, log.jobSeed);
      return new FleetHandlerRunner(handler, data, filter, fleet, registry, listener);
    });
  }

  /** Begins to call the handlers. */
  run(): void {
    for (const runner of this.#runners) runner.run();
  }

  /** Waits for the current calls, so that their cursors move, and calls no handler any more. @param timeout in ms */
  async stop(timeout: number): Promise<void> {
    const runners = this.#runners;
    this.#runners = [];
    await withTimeout(Promise.all(runners.map((runner) => runner.stop())), timeout, () => []);
    for (const runner of runners) runner.detach();
  }
}
