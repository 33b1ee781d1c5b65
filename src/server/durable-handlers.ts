// The durable handlers of a server: they run while it does.

import { SluiceError } from '../errors.js';
import { OWN_CURSOR } from '../log/cursors.js';
import type { MessageLog } from '../log/message-log.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { SubscribeData } from '../routing/filter.js';
import { withTimeout } from '../timeout.js';
import { type DurableHandler, subscriptionOf } from './durable-handler.js';
import { DurableReader, type DurableReaderListener } from './durable-reader.js';

export class DurableHandlers {
  readonly #registered: { readonly handler: DurableHandler; readonly data: SubscribeData }[] = [];
  #readers: DurableReader[] = [];

  /** @throws SluiceError `INVALID_OPTION` */
  add(handler: DurableHandler): void {
    const data = subscriptionOf(handler);
    const { cursor } = data;
    if (cursor?.startsWith(OWN_CURSOR) === true)
      throw new SluiceError('INVALID_OPTION', `durable handler: cursor: must not begin with ${OWN_CURSOR}`);
    if (cursor !== undefined && this.#registered.some((other) => other.data.cursor === cursor))
      throw new SluiceError('INVALID_OPTION', 'durable handler: cursor: belongs to another handler');
    this.#registered.push({ handler, data });
  }

  /** Determines where each handler begins: messages that are stored from now on are new. */
  open(log: MessageLog, registry: MessageRegistry, delimiter: number, listener: DurableReaderListener): void {
    this.#readers = this.#registered.map(
      ({ handler, data }) => new DurableReader(handler, data, log, registry, delimiter, listener),
    );
  }

  /** Begins to call the handlers. */
  run(): void {
    for (const reader of this.#readers) reader.run();
  }

  /** Waits for the current calls, so that their cursors move, and calls no handler any more. @param timeout in ms */
  async stop(timeout: number): Promise<void> {
    const readers = this.#readers;
    this.#readers = [];
    await withTimeout(Promise.all(readers.map((reader) => reader.stop())), timeout, () => []);
    for (const reader of readers) reader.detach();
  }
}
