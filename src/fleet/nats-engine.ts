// The engine of a fleet: NATS JetStream. Its client is loaded only here, so that brokers without a fleet do not need it.

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type * as JetStream from '@nats-io/jetstream';
import type * as Nats from '@nats-io/transport-node';
import { Backoff } from '../backoff.js';
import { SluiceError } from '../errors.js';
import { formatPosition } from '../log/position.js';
import {
  type FleetEngine,
  type LastBatch,
  OutOfSequenceError,
  type RequestHandler,
  type StoredStreamBatch,
  type StreamStart,
} from './engine.js';
import { type BatchHeaders, decodeBatch, encodeHeaders, HEADER, type StreamBatch } from './stream-batch.js';

export interface NatsOptions {
  /** Addresses of the servers, such as `nats://localhost:4222`. */
  readonly servers: readonly string[];
  /** Name of the fleet. */
  readonly name: string;
  /** Path of a file with credentials of NATS. Default: none. */
  readonly credentials: string | undefined;
  /** Paths of PEM files. `undefined`: without TLS. */
  readonly tls:
    | { readonly ca: string | undefined; readonly cert: string | undefined; readonly key: string | undefined }
    | undefined;
  /** Whether each message is stored by itself, with a subject that says its type and job, instead of in batches. */
  readonly storesMessages: boolean;
  /** Limits of the stream, if it has to be created. `maxAge` is in ms. */
  readonly maxBytes: number;
  readonly maxAge: number;
  readonly replicas: number;
  /** Called with the first error of an interruption, and of the answers to a kind of request. */
  onError(error: unknown): void;
  /** The stream was created, or is used as it is. */
  onStream(stream: { readonly name: string; readonly replicas: number; readonly isNew: boolean }): void;
}

const KiB = 1024;
/** Bytes of a batch: larger ones are not faster. */
const MAX_BATCH = 512 * KiB;
/** Share of the server's `max_payload` that a batch may use: the server returns a stored message as base64 in JSON. */
const PAYLOAD_SHARE = 0.6;
/** Batches that are read ahead, and how long the server waits for one, in ms. */
const READ_AHEAD = 8;
const READ_TIMEOUT = 30_000;
/** Timeouts of a connection, and of a request, in ms. */
const CONNECT_TIMEOUT = 5000;
const REQUEST_TIMEOUT = 10_000;
/** How long the server keeps a consumer that is not used, in ms. */
const INACTIVE_TIMEOUT = 60_000;
/** The latest time that the server can compare, in ms since 1970: it counts ns in 64 bits. */
const MAX_TIME = 9_223_372_036_854;
const RETRY = { initialDelay: 250, maxDelay: 10_000 } as const;
/** JetStream's error codes. */
const STREAM_NOT_FOUND = 10_059;
/** Maximum number of characters of a type or job ID in a subject, whose length the server limits. */
const MAX_TOKEN = 200;
/** Stands for a missing job ID: a subject cannot have an empty part. */
const NO_JOB = '_';
const WRONG_LAST_SEQUENCE = 10_071;
const NO_MESSAGE_FOUND = 10_037;

interface Connected {
  readonly connection: Nats.NatsConnection;
  readonly client: JetStream.JetStreamClient;
  readonly manager: JetStream.JetStreamManager;
  /** Whether the stream is stored on several servers. */
  readonly isReplicated: boolean;
}

export class NatsEngine implements FleetEngine {
  readonly #options: NatsOptions;
  readonly #nats: typeof Nats;
  readonly #jetStream: typeof JetStream;
  readonly #closing = new AbortController();
  /** Aborted when the connection is lost. */
  #connected: (Connected & { readonly lost: AbortController }) | undefined;
  #waiters: (() => void)[] = [];
  readonly #handlers = new Map<string, RequestHandler>();
  #running: Promise<void> | undefined;

  private constructor(options: NatsOptions, nats: typeof Nats, jetStream: typeof JetStream) {
    this.#options = options;
    this.#nats = nats;
    this.#jetStream = jetStream;
  }

  /**
   * Loads the client.
   * @throws SluiceError `FLEET_CLIENT_MISSING`
   */
  static async load(options: NatsOptions): Promise<NatsEngine> {
    try {
      const [nats, jetStream] = [await import('@nats-io/transport-node'), await import('@nats-io/jetstream')];
      return new NatsEngine(options, nats, jetStream);
    } catch (cause) {
      const detail = 'npm install @nats-io/transport-node @nats-io/jetstream';
      throw new SluiceError('FLEET_CLIENT_MISSING', detail, { cause });
    }
  }

  get isConnected(): boolean {
    return this.#connected !== undefined;
  }

  get lost(): AbortSignal | undefined {
    return this.#connected?.lost.signal;
  }

  get mayLoseBatches(): boolean {
    // A single server loses none while it runs. Of several, another one may take over which does not have all.
    return this.#connected?.isReplicated === true;
  }

  get maxBatchBytes(): number {
    const payload = this.#connected?.connection.info?.max_payload ?? 2 * MAX_BATCH;
    return Math.min(MAX_BATCH, Math.floor(payload * PAYLOAD_SHARE));
  }

  get #stream(): string {
    return `sluice-${this.#options.name}`;
  }

  get maxBatchMessages(): number {
    return this.#options.storesMessages ? 1 : Number.POSITIVE_INFINITY;
  }

  /** The subject of batches; with that of single messages, the type and the job follow. */
  #subjectOf(kind: 'batches' | 'messages', host: string): string {
    return `sluice.${this.#options.name}.${kind}.${host}`;
  }

  #messageSubject(host: string, message: Uint8Array): string {
    const { type, job } = subjectParts(message);
    return `${this.#subjectOf('messages', host)}.${type}.${job}`;
  }

  /** Connects, and again whenever the connection is lost, until it is closed. */
  start(): void {
    this.#running = this.#run();
  }

  whenConnected(signal: AbortSignal): Promise<void> {
    if (this.isConnected || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      this.#waiters.push(done);
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const resolve of this.#waiters.splice(0)) resolve();
    await this.#running;
  }

  async lastBatch(host: string): Promise<LastBatch> {
    const subjects = [this.#subjectOf('batches', host), `${this.#subjectOf('messages', host)}.>`];
    const found = await Promise.all(subjects.map((subject) => this.#get({ last_by_subj: subject })));
    const [batch, message] = found;
    const previous = batch?.sequence ?? 0;
    // A host may have changed from one to the other.
    return { batch: (message?.sequence ?? 0) > previous ? message?.batch : batch?.batch, previous };
  }

  batchAt(sequence: number): Promise<StoredStreamBatch | undefined> {
    return this.#get({ seq: sequence });
  }

  async publish(batch: StreamBatch, previous: number | undefined): Promise<number> {
    const { client } = this.#require();
    const headers = this.#nats.headers();
    for (const [name, value] of Object.entries(encodeHeaders(batch))) headers.set(name, value);
    const { host, body, start } = batch;
    const { storesMessages } = this.#options;
    const isChecked = previous !== undefined && !storesMessages;
    try {
      const { seq } = await client.publish(
        storesMessages ? this.#messageSubject(host, body) : this.#subjectOf('batches', host),
        body,
        {
          headers,
          // Each message has a subject of its own, so that only its ID can tell that an earlier connection has stored it.
          ...(storesMessages ? { msgID: `${host}:${formatPosition(start)}` } : {}),
          expect: { streamName: this.#stream, ...(isChecked ? { lastSubjectSequence: previous } : {}) },
          timeout: REQUEST_TIMEOUT,
          retries: 0,
        },
      );
      return seq;
    } catch (error) {
      if (codeOf(error) === WRONG_LAST_SEQUENCE) throw new OutOfSequenceError();
      throw error;
    }
  }

  async bounds(): Promise<{ first: number; last: number }> {
    const { manager } = this.#require();
    const { state } = await manager.streams.info(this.#stream);
    return { first: state.first_seq, last: state.last_seq };
  }

  async *read(
    start: StreamStart,
    signal: AbortSignal,
    onReady: () => void,
  ): AsyncGenerator<StoredStreamBatch, void> {
    const { client, manager, lost } = this.#require();
    const consumerName = await this.#createConsumer(manager, start);
    const ended = AbortSignal.any([signal, lost.signal, this.#closing.signal]);
    try {
      const consumer = await client.consumers.get(this.#stream, consumerName);
      onReady();
      for (let delivered = 0; !ended.aborted; ) {
        const messages = await consumer.fetch({ max_messages: READ_AHEAD, expires: READ_TIMEOUT });
        const stop = (): void => messages.stop();
        ended.addEventListener('abort', stop, { once: true });
        if (ended.aborted) stop();
        try {
          for await (const message of messages) {
            if (message.info.deliverySequence !== ++delivered) throw new Error('a batch was lost on the way');
            const time = Number(message.timestampNanos / 1_000_000n);
            yield this.#stored(message.seq, time, message.subject, message.headers, message.data);
          }
        } finally {
          ended.removeEventListener('abort', stop);
        }
      }
      if (!signal.aborted) throw new Error('the connection to the engine was lost');
    } finally {
      if (!lost.signal.aborted) manager.consumers.delete(this.#stream, consumerName).catch(() => {});
    }
  }

  async #createConsumer(manager: JetStream.JetStreamManager, start: StreamStart): Promise<string> {
    const { AckPolicy, DeliverPolicy } = this.#jetStream;
    const { nanos } = this.#nats;
    const from =
      'sequence' in start
        ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Math.max(1, start.sequence) }
        : {
            deliver_policy: DeliverPolicy.StartTime,
            opt_start_time: new Date(Math.min(Math.max(0, start.time), MAX_TIME)).toISOString(),
          };
    const { name } = await manager.consumers.add(this.#stream, {
      ...from,
      ack_policy: AckPolicy.None,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(INACTIVE_TIMEOUT),
    });
    return name;
  }

  handle(subject: string, handler: RequestHandler): void {
    if (this.#handlers.has(subject)) return;
    this.#handlers.set(subject, handler);
    if (this.#connected !== undefined) this.#listen(this.#connected.connection, subject, handler);
  }

  notify(subject: string, data: Uint8Array): void {
    this.#connected?.connection.publish(this.#callSubject(subject), data);
  }

  async request(subject: string, data: Uint8Array, timeout: number): Promise<Uint8Array | undefined> {
    const { connection } = this.#require();
    try {
      const reply = await connection.request(this.#callSubject(subject), data, { timeout });
      return reply.data;
    } catch (error) {
      if (this.#isUnanswered(error)) return undefined;
      if (connection.isClosed()) throw new SluiceError('CONNECTION_CLOSED', undefined, { cause: error });
      throw error;
    }
  }

  async *requestAll(subject: string, data: Uint8Array, timeout: number): AsyncGenerator<Uint8Array, void> {
    if (this.#connected === undefined) return;
    const { connection } = this.#connected;
    const options = { strategy: 'timer', maxWait: timeout, noMux: true } as const;
    try {
      for await (const reply of await connection.requestMany(this.#callSubject(subject), data, options))
        yield reply.data;
    } catch (error) {
      if (!this.#isUnanswered(error)) throw error;
    }
  }

  /** Whether a request has failed since no host answers it. */
  #isUnanswered(error: unknown): boolean {
    const { NoRespondersError, TimeoutError, RequestError } = this.#nats.errors;
    const cause = error instanceof RequestError ? error.cause : error;
    return cause instanceof NoRespondersError || cause instanceof TimeoutError;
  }

  #callSubject(subject: string): string {
    return `sluice.${this.#options.name}.calls.${subject}`;
  }

  #listen(connection: Nats.NatsConnection, subject: string, handler: RequestHandler): void {
    let hasFailed = false;
    connection.subscribe(this.#callSubject(subject), {
      callback: (error, message) => {
        if (error !== null) return;
        try {
          const reply = handler(message.data);
          const replies = reply === undefined || reply instanceof Uint8Array ? [reply] : reply;
          for (const one of replies) if (one !== undefined) message.respond(one);
        } catch (cause) {
          // It would end all reading from the connection, which stays open. Reported once: others choose what they send.
          if (!hasFailed) this.#options.onError(new Error(`${subject}: no answer to a request`, { cause }));
          hasFailed = true;
        }
      },
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const backoff = new Backoff(RETRY);
    let hasFailed = false;
    while (!signal.aborted) {
      try {
        const connected = await this.#connect();
        backoff.reset();
        hasFailed = false;
        const lost = new AbortController();
        this.#connected = { ...connected, lost };
        for (const [subject, handler] of this.#handlers) this.#listen(connected.connection, subject, handler);
        for (const resolve of this.#waiters.splice(0)) resolve();
        await this.#untilLost(connected.connection);
        this.#connected = undefined;
        lost.abort();
        await connected.connection.close();
      } catch (error) {
        if (!hasFailed) this.#options.onError(error);
        hasFailed = true;
        await sleep(backoff.next(), undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Connects once. After a loss, everything begins anew, since the engine may be another one. */
  async #connect(): Promise<Connected> {
    const { servers, name, credentials, tls } = this.#options;
    const connection = await this.#nats.connect({
      // Whether TLS is used is said below.
      servers: servers.map((address) => new URL(address).host),
      name: `sluice ${name}`,
      timeout: CONNECT_TIMEOUT,
      reconnect: false,
      // A host does not answer its own requests.
      noEcho: true,
      ...(credentials === undefined
        ? {}
        : { authenticator: this.#nats.credsAuthenticator(await readFile(credentials)) }),
      ...(tls === undefined ? {} : { tls: tlsOptions(tls) }),
    });
    try {
      const manager = await this.#jetStream.jetstreamManager(connection, { timeout: REQUEST_TIMEOUT });
      const replicas = await this.#requireStream(manager);
      const client = this.#jetStream.jetstream(connection, { timeout: REQUEST_TIMEOUT });
      return { connection, manager, client, isReplicated: replicas > 1 };
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Creates the stream if there is none. An existing one is never changed. @returns on how many servers it is stored */
  async #requireStream(manager: JetStream.JetStreamManager): Promise<number> {
    const { name, storesMessages, maxBytes, maxAge, replicas, onStream } = this.#options;
    const stream = this.#stream;
    const subjects = [this.#subjectOf('batches', '*'), `${this.#subjectOf('messages', '*')}.>`];
    try {
      const { config } = await manager.streams.info(stream);
      const missing = subjects[storesMessages ? 1 : 0] ?? '';
      if (!config.subjects.includes(missing) && !config.subjects.includes(`sluice.${name}.>`))
        throw new Error(`the stream ${stream} does not have the subject ${missing}: add it`);
      onStream({ name: stream, replicas: config.num_replicas, isNew: false });
      return config.num_replicas;
    } catch (error) {
      if (codeOf(error) !== STREAM_NOT_FOUND) throw error;
      await manager.streams.add({
        name: stream,
        subjects,
        max_bytes: maxBytes,
        max_age: this.#nats.nanos(maxAge),
        num_replicas: replicas,
      });
      onStream({ name: stream, replicas, isNew: true });
      return replicas;
    }
  }

  /** Resolves when the connection is lost, or the engine is closed. */
  async #untilLost(connection: Nats.NatsConnection): Promise<void> {
    const { signal } = this.#closing;
    const closed = connection.closed();
    const closing = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    if (!signal.aborted) await Promise.race([closed, closing]);
  }

  async #get(query: { seq: number } | { last_by_subj: string }): Promise<StoredStreamBatch | undefined> {
    const { manager } = this.#require();
    try {
      const message = await manager.streams.getMessage(this.#stream, query);
      if (message === null) return undefined;
      return this.#stored(message.seq, message.time.getTime(), message.subject, message.header, message.data);
    } catch (error) {
      if (codeOf(error) === NO_MESSAGE_FOUND) return undefined;
      throw error;
    }
  }

  #stored(
    sequence: number,
    time: number,
    subject: string,
    headers: Nats.MsgHdrs | undefined,
    body: Uint8Array,
  ): StoredStreamBatch {
    const [, , , host = ''] = subject.split('.');
    const found: BatchHeaders = Object.fromEntries(
      Object.values(HEADER).flatMap((name) => {
        const value = headers?.get(name) ?? '';
        return value === '' ? [] : [[name, value]];
      }),
    );
    return { sequence, time, batch: decodeBatch(host, found, body) };
  }

  #require() {
    if (this.#connected === undefined) throw new Error('the engine is not connected');
    return this.#connected;
  }
}

/** The type and the job of a message, as they are in its subject. */
function subjectParts(message: Uint8Array): { readonly type: string; readonly job: string } {
  const { type, jobId, job_id } = JSON.parse(Buffer.from(message).toString()) as Record<string, unknown>;
  const job = jobId ?? job_id;
  return { type: subjectToken(String(type)), job: typeof job === 'string' ? subjectToken(job) : NO_JOB };
}

/** A text as part of a subject. Other characters are encoded as in a URL. */
function subjectToken(text: string): string {
  // Half of a surrogate pair, which a JSON escape can be, cannot be encoded.
  const wellFormed = Buffer.from(text).toString();
  const encoded = encodeURIComponent(wellFormed).replace(/[.*]/g, (one) => (one === '.' ? '%2E' : '%2A'));
  return encoded.slice(0, MAX_TOKEN) || NO_JOB;
}

function tlsOptions({ ca, cert, key }: NonNullable<NatsOptions['tls']>): Nats.TlsOptions {
  return {
    ...(ca === undefined ? {} : { caFile: ca }),
    ...(cert === undefined ? {} : { certFile: cert }),
    ...(key === undefined ? {} : { keyFile: key }),
  };
}

/** The code of a JetStream error. */
function codeOf(error: unknown): number | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' ? error.code : undefined;
}
