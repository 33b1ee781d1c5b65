// What a broker has besides its connections, if its options say so: the durable log, the fleet, and the handlers that read
// them. Opened before the broker listens.

import type { ResolvedOptions } from '../config/config.js';
import { describeForLog, SluiceError } from '../errors.js';
import type { Fleet } from '../fleet/fleet.js';
import { importInstalled } from '../installed.js';
import { MessageLog } from '../log/message-log.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { withTimeout } from '../timeout.js';
import type { DurableFailure } from './durable-calls.js';
import { DurableHandlers } from './durable-handlers.js';
import type { OpenFleetListener } from './open-fleet.js';

export interface StorageListener extends Omit<OpenFleetListener, 'onRecovered'> {
  /** A durable handler has failed. */
  onDurableFailure(failure: DurableFailure): void;
}

/** Time until what the disk of the durable log has not written is given up, in ms; after it again, nothing is awaited. */
const LOG_CLOSE_TIMEOUT = 5000;
/** Time until the connection to the engine of the fleet is given up, in ms. */
const FLEET_CLOSE_TIMEOUT = 5000;

export class BrokerStorage {
  readonly handlers = new DurableHandlers();
  readonly #options: ResolvedOptions;
  readonly #delimiter: number;
  readonly #validatesLocally: boolean;
  readonly #listener: StorageListener;
  #log: MessageLog | undefined;
  #fleet: Fleet | undefined;

  /** @param validatesLocally whether this thread validates the messages of other hosts, instead of a worker */
  constructor(options: ResolvedOptions, validatesLocally: boolean, listener: StorageListener) {
    this.#options = options;
    this.#delimiter = options.messageDelimiter.charCodeAt(0);
    this.#validatesLocally = validatesLocally;
    this.#listener = listener;
  }

  /** If `undefined`, messages are only in memory. */
  get log(): MessageLog | undefined {
    return this.#log;
  }

  /** If `undefined`, there are no other hosts. */
  get fleet(): Fleet | undefined {
    return this.#fleet;
  }

  /** Opens what the options name. After an error, {@link close} is needed. */
  async open(registry: MessageRegistry): Promise<void> {
    const { log: folder } = this.#options;
    if (folder === undefined) return;
    const log = await this.#openLog(folder, registry);
    this.#log = log;
    this.#fleet = await this.#openFleet(log, registry);
    const sources = { log, fleet: this.#fleet, registry, delimiter: this.#delimiter };
    this.handlers.open(sources, {
      onFailure: (failure) => this.#listener.onDurableFailure(failure),
      onGap: (gap) => this.#listener.onWarning({ ...gap }, 'messages for a durable handler are missing'),
      onUnreadable: (error) => this.#onLogError(error),
    });
  }

  /** Removes what is too old. */
  cleanUp(): void {
    this.#log?.removeExpired();
    this.#fleet?.trim();
  }

  /** Closes everything but the handlers. */
  async close(): Promise<void> {
    await withTimeout(this.#fleet?.close() ?? Promise.resolve(), FLEET_CLOSE_TIMEOUT, () => {});
    this.#fleet = undefined;
    const closed = await this.#log?.close(LOG_CLOSE_TIMEOUT);
    this.#log = undefined;
    if (closed?.isHung) this.#onLogError(undefined);
    const { unstored = 0 } = closed ?? {};
    if (unstored > 0)
      this.#listener.onError(new SluiceError('LOG_UNAVAILABLE', `${unstored} messages were not stored`));
  }

  async #openLog(folder: string, registry: MessageRegistry): Promise<MessageLog> {
    const options = this.#options;
    const onError = (error: unknown) => this.#onLogError(error);
    const log = await MessageLog.open({
      folder,
      segmentBytes: options.logSegmentBytes,
      maxBytes: options.logMaxBytes,
      maxAge: options.logMaxAge,
      syncInterval: options.logSyncInterval,
      excludedTypes: options.logExcludedTypes,
      onFailure: options.logFailure,
      keepsUnread: options.logKeep === 'unread',
      onFull: options.logFull,
      deadLetters: {
        maxBytes: options.deadLetterMaxBytes,
        keepsContent: options.rejectedBytes === 'full',
        onError,
      },
      onCursorError: onError,
      delimiter: this.#delimiter,
      registry,
    });
    const { first, end, bytes } = log.statistics;
    const maxBytes = Math.floor(log.maxBytes);
    this.#listener.onInfo({ folder, first, end, bytes, maxBytes }, 'durable log is open');
    if (bytes > maxBytes)
      this.#listener.onWarning({ bytes, maxBytes }, 'the durable log exceeds its limit: it counts as full');
    return log;
  }

  async #openFleet(log: MessageLog, registry: MessageRegistry): Promise<Fleet | undefined> {
    const options = this.#options;
    if (options.fleet === undefined) return undefined;
    const { openFleet } = await importInstalled<typeof import('./open-fleet.js')>('server/open-fleet.js');
    return openFleet(options.fleet, options, log, registry, this.#validatesLocally, {
      ...this.#listener,
      onRecovered: () => this.#listener.onInfo({}, 'messages are forwarded to the fleet again'),
    });
  }

  #onLogError(error: unknown): void {
    this.#listener.onError(logUnavailable(error));
  }
}

/** @param error why the disk of the durable log has failed, or what else is wrong with it; `undefined` if it does not answer */
export function logUnavailable(error: unknown): SluiceError {
  if (error instanceof SluiceError) return error;
  const detail = error === undefined ? 'the disk does not answer' : describeForLog(error);
  return new SluiceError('LOG_UNAVAILABLE', detail, { cause: error });
}
