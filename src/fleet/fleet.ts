// The part of a broker that joins it to a fleet: forwards its durable log to the engine, and reads those of all hosts.

import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { SluiceError } from '../errors.js';
import type { Cursors } from '../log/cursors.js';
import type { MessageLog } from '../log/message-log.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { FLEET_POSITION_PATTERN, type MessageMap } from '../messages/messages.js';
import { parseTimestamp } from '../messages/timestamps.js';
import type { FleetEngine, RequestHandler } from './engine.js';
import { parseFleetPosition } from './fleet-position.js';
import type { FleetValidation } from './fleet-validation.js';
import { Forwarder, type ForwarderStatistics } from './forwarder.js';
import { type FleetHost, type HostReport, HostTable, REPORT_INTERVAL } from './host-table.js';
import { StreamReader, type StreamReaderStart } from './stream-reader.js';

export interface FleetOptions {
  readonly engine: FleetEngine;
  /** Name of this host. */
  readonly host: string;
  readonly log: MessageLog;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  readonly validation: FleetValidation;
  /** How long a message to a crawler of another host may take, in ms. */
  readonly requestTimeout: number;
  readonly listener: FleetListener;
  /** What this broker reports of itself to the others. */
  describe(): Omit<HostReport, 'host' | 'lag'>;
}

export interface FleetListener {
  onError(error: unknown): void;
  /** Forwarding works again. */
  onRecovered(): void;
}

export interface FleetStatistics extends ForwarderStatistics {
  readonly host: string;
  /** Whether the engine is connected. */
  readonly isConnected: boolean;
  /** Readers of the batches of all hosts: one for all live subscriptions, and one for each other one. */
  readonly feeds: number;
  /** All hosts that have reported themselves within 5 minutes, this one included, by name. */
  readonly hosts: readonly FleetHost[];
  /** Batches that were not valid, and messages in batches that were rejected. */
  readonly invalidBatches: number;
  readonly rejected: number;
}

/** Positions of cursors are kept as on the wire. */
const FLEET_CURSORS = { name: 'fleet-cursors', position: z.string().regex(FLEET_POSITION_PATTERN) };
/**
 * Batches of all hosts per second, while they have much to send: a reader processes more than twice as many. With 50
 * hosts, a message waits for up to 10 ms.
 */
const BATCHES_PER_SECOND = 5000;
/** Since each has a few batches in memory, and makes the engine read the stream. */
const MAX_READERS = 64;
/** Subject of the reports of hosts. */
const HOSTS = 'hosts';
/** How long a broker waits for the engine when it starts, in ms. */
const JOIN_TIMEOUT = 1000;
/** How long the other broker with the name of this host may take to answer, in ms. */
const CLAIM_TIMEOUT = 1000;

export class Fleet {
  readonly cursors: Cursors<string>;
  /** Names of cursors that handlers in this process move. */
  readonly handlerCursors = new Set<string>();
  readonly host: string;
  readonly #options: FleetOptions;
  readonly #validation: FleetValidation;
  readonly #readers = new Set<StreamReader>();
  readonly #hosts = new HostTable();
  readonly #reportTimer: NodeJS.Timeout;
  readonly #forwarder: Forwarder;
  /** Distinguishes this broker from another one with the same host name. */
  readonly #instance = Buffer.from(randomUUID());
  /** Whether this broker may use its host name. */
  #ownsHostName = false;
  /** How often another broker has got the host name. */
  #losses = 0;
  #invalidBatches = 0;
  #rejected = 0;

  private constructor(options: FleetOptions, cursors: Cursors<string>) {
    this.#options = options;
    this.host = options.host;
    this.#validation = options.validation;
    this.cursors = cursors;
    this.#reportTimer = setInterval(() => this.#reportHost(), REPORT_INTERVAL).unref();
    options.engine.handle(HOSTS, (data) => {
      this.#hosts.read(data);
      return undefined;
    });
    const { engine, log, registry, delimiter, host, listener } = options;
    this.#forwarder = new Forwarder(engine, {
      log,
      registry,
      delimiter,
      host,
      batchInterval: () => (this.#hosts.size / BATCHES_PER_SECOND) * 1000,
      claimHostName: () => this.#claimHostName(),
      onError: (error) => this.#report(error),
      onRecovered: () => listener.onRecovered(),
    });
  }

  /**
   * Joins the fleet. If the engine is not connected soon, the broker works without it until it is.
   * @throws SluiceError `FLEET_HOST_IN_USE`, `LOG_UNUSABLE`
   */
  static async join(options: FleetOptions): Promise<Fleet> {
    const { engine, log, validation } = options;
    const cursors = await log.openCursors(FLEET_CURSORS).catch(async (error: unknown) => {
      await Promise.all([engine.close(), validation.close()]);
      throw error;
    });
    await engine.whenConnected(AbortSignal.timeout(JOIN_TIMEOUT));
    const fleet = new Fleet(options, cursors);
    try {
      if (engine.isConnected) await fleet.#claimHostName();
    } catch (error) {
      await fleet.close();
      throw error;
    }
    await fleet.#forwarder.start();
    return fleet;
  }

  /** Whether the engine is connected. */
  get isConnected(): boolean {
    return this.#options.engine.isConnected;
  }

  get statistics(): FleetStatistics {
    const { engine, host } = this.#options;
    const [feeds, invalidBatches, rejected] = [this.#readers.size, this.#invalidBatches, this.#rejected];
    this.#hosts.set(this.#ownReport());
    const hosts = this.#hosts.list();
    return {
      ...this.#forwarder.statistics,
      host,
      isConnected: engine.isConnected,
      feeds,
      hosts,
      invalidBatches,
      rejected,
    };
  }

  /** Counts messages of other hosts that were rejected here. */
  countRejected(count: number): void {
    this.#rejected += count;
  }

  /** Whether another reader may be opened. */
  get hasRoomForReader(): boolean {
    return this.#readers.size < MAX_READERS;
  }

  /**
   * Where a reader for a subscription begins: at its cursor, or where it wants to. Default: `new`. If the cursors were
   * lost, it may have been anywhere: messages are delivered again then.
   */
  startOf({
    cursor,
    from = 'new',
  }: Pick<MessageMap['subscribe']['data'], 'cursor' | 'from'>): StreamReaderStart {
    const known = cursor === undefined ? undefined : this.cursors.get(cursor);
    if (known !== undefined) return parseFleetPosition(known);
    if (typeof from === 'object' && 'offset' in from) return parseFleetPosition(String(from.offset));
    if (cursor !== undefined && this.cursors.wereLost) return 'first';
    return typeof from === 'object' ? { time: parseTimestamp(String(from.time)) } : from;
  }

  /** A reader of the batches of all hosts. Stop it when it is no longer used. */
  openReader(start: StreamReaderStart): StreamReader {
    const reader: StreamReader = new StreamReader({
      engine: this.#options.engine,
      validator: this.#validation.open((error) => this.#report(error)),
      start,
      onError: (error) => this.#report(error),
      onInvalidBatch: () => {
        this.#invalidBatches++;
      },
    });
    this.#readers.add(reader);
    return reader;
  }

  async closeReader(reader: StreamReader): Promise<void> {
    this.#readers.delete(reader);
    await reader.stop();
  }

  /** Maximum bytes of an answer to another host. */
  get maxAnswerBytes(): number {
    return this.#options.engine.maxBatchBytes;
  }

  /** How long a message to a crawler of another host may take, in ms. */
  get requestTimeout(): number {
    return this.#options.requestTimeout;
  }

  /** Handles requests and notifications of other hosts on a subject. */
  handle(subject: string, handler: RequestHandler): void {
    this.#options.engine.handle(subject, handler);
  }

  /** Publishes a message to the other hosts, if the engine is connected. */
  notify(subject: string, data: Uint8Array): void {
    try {
      this.#options.engine.notify(subject, data);
    } catch (error) {
      // It is too long for the engine.
      this.#report(error);
    }
  }

  /**
   * Sends a request to the other hosts.
   * @returns the first answer; `undefined` if there is none within `timeout` ms
   * @throws SluiceError `CONNECTION_CLOSED` if the connection is lost meanwhile; another error if it was not sent
   */
  request(subject: string, data: Uint8Array, timeout: number): Promise<Uint8Array | undefined> {
    return this.#options.engine.request(subject, data, timeout);
  }

  /**
   * Sends a request to which each host may reply several times.
   * @param end the last answer of each host, which is not returned
   * @returns the answers, until all hosts that are known have answered, or {@link requestTimeout}
   */
  async *requestAll(subject: string, data: Uint8Array, end: Buffer): AsyncGenerator<Uint8Array, void> {
    let missing = this.#hosts.list().filter(({ host }) => host !== this.host).length;
    if (missing === 0) return;
    for await (const answer of this.#options.engine.requestAll(subject, data, this.requestTimeout)) {
      if (!end.equals(answer)) yield answer;
      else if (--missing === 0) return;
    }
  }

  /** Frees memory that is not used. */
  trim(): void {
    this.#validation.trim();
  }

  /** Stops after the batches that are being stored and delivered. */
  async close(): Promise<void> {
    clearInterval(this.#reportTimer);
    await Promise.all([this.#forwarder.stop(), ...[...this.#readers].map((reader) => reader.stop())]);
    await this.#validation.close();
    await this.#options.engine.close();
  }

  /**
   * Claims the host name for this broker: batches of two brokers with one name would be mixed.
   * @throws SluiceError `FLEET_HOST_IN_USE`
   */
  async #claimHostName(): Promise<void> {
    const { engine, host } = this.#options;
    const subject = `host.${host}`;
    const claim = this.#ownsHostName ? this.#instance : new Uint8Array();
    const losses = this.#losses;
    const other = await engine.request(subject, claim, CLAIM_TIMEOUT);
    // Both may use it if they have asked at the same time: then one of them goes on.
    const isFree = other === undefined || (this.#ownsHostName && this.#instance.compare(other) < 0);
    this.#ownsHostName = isFree && losses === this.#losses;
    engine.handle(subject, (data) => this.#answerClaim(data));
    if (!this.#ownsHostName) throw new SluiceError('FLEET_HOST_IN_USE', host);
  }

  /** Another broker asks for the name of this host. @param claim tells it from this one; empty unless it uses the name too */
  #answerClaim(claim: Uint8Array): Uint8Array | undefined {
    if (!this.#ownsHostName) return undefined;
    if (claim.length === 0 || this.#instance.compare(claim) <= 0) return this.#instance;
    this.#ownsHostName = false;
    this.#losses++;
    this.#forwarder.onHostLost();
    return undefined;
  }

  #ownReport(): HostReport {
    const { lag = null } = this.#forwarder.statistics;
    return { host: this.host, ...this.#options.describe(), lag };
  }

  #reportHost(): void {
    this.notify(HOSTS, Buffer.from(JSON.stringify(this.#ownReport())));
  }

  #report(cause: unknown): void {
    if (cause instanceof SluiceError) return this.#options.listener.onError(cause);
    const detail = cause instanceof Error ? cause.message : undefined;
    this.#options.listener.onError(new SluiceError('FLEET_UNAVAILABLE', detail, { cause }));
  }
}
