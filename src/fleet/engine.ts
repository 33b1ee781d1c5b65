// What Sluice needs of the engine that joins the hosts of a fleet: a stream of batches, in which those of each host are in
// order and stored once.

import type { StreamBatch } from './stream-batch.js';

/** A batch as stored in the engine. */
export interface StoredStreamBatch {
  /** Its sequence number in the stream, from 1. Others follow; some may be missing. */
  readonly sequence: number;
  /** When it was stored, in ms since 1970. */
  readonly time: number;
  /** `undefined` if something else was stored. */
  readonly batch: StreamBatch | undefined;
}

/** The latest batch of a host, of which the next one is the continuation. */
export interface LastBatch {
  /** `undefined` if there is none, or something else. */
  readonly batch: StreamBatch | undefined;
  /** What {@link FleetEngine.publish} expects to be the latest one. */
  readonly previous: number;
}

/** Where to begin to read the stream: at a sequence number, or at a time in ms since 1970. */
export type StreamStart = { readonly sequence: number } | { readonly time: number };

/** Answers a request of another host. @returns the answer, or several; `undefined` leaves the request to others */
export type RequestHandler = (data: Uint8Array) => Uint8Array | readonly Uint8Array[] | undefined;

export interface FleetEngine {
  readonly isConnected: boolean;
  /** Aborted when the current connection is lost; `undefined` if there is none. The next one may be to an older state. */
  readonly lost: AbortSignal | undefined;
  /** Maximum bytes of the body of a batch, or of an answer. */
  readonly maxBatchBytes: number;
  /** Maximum number of messages of a batch. */
  readonly maxBatchMessages: number;
  /** Resolves when the engine is connected, or `signal` is aborted. */
  whenConnected(signal: AbortSignal): Promise<void>;
  /** The latest batch of a host. */
  lastBatch(host: string): Promise<LastBatch>;
  /**
   * Whether it may lose stored batches while it stays connected. If not, only the first batch of a connection has to be
   * stored with `previous`.
   */
  readonly mayLoseBatches: boolean;
  /**
   * Stores a batch.
   * @param previous as {@link LastBatch.previous}, or what the latest call returned; `undefined` if that need not be checked,
   *   which takes the engine as long as storing
   * @returns its sequence number
   * @throws OutOfSequenceError if another batch is the latest one of its host; nothing is stored then
   */
  publish(batch: StreamBatch, previous: number | undefined): Promise<number>;
  /** A stored batch; `undefined` if the stream has none with this sequence number. */
  batchAt(sequence: number): Promise<StoredStreamBatch | undefined>;
  /** Sequence numbers of the first and the last batch of the stream. */
  bounds(): Promise<{ readonly first: number; readonly last: number }>;
  /**
   * Reads the stream, and waits for what is not stored yet, until `signal` is aborted.
   * @param onReady called once it is certain that all batches stored from now on will be read
   * @throws an error when the connection is lost
   */
  read(start: StreamStart, signal: AbortSignal, onReady: () => void): AsyncIterable<StoredStreamBatch>;
  /** Answers requests of other hosts about a subject. There is one handler for each subject: the first one. */
  handle(subject: string, handler: RequestHandler): void;
  /** Publishes a message to the other hosts, if the engine is connected. */
  notify(subject: string, data: Uint8Array): void;
  /**
   * Sends a request to the other hosts.
   * @returns the first answer; `undefined` if there is none within `timeout` ms
   * @throws SluiceError `CONNECTION_CLOSED` if the connection is lost meanwhile; another error if it was not sent
   */
  request(subject: string, data: Uint8Array, timeout: number): Promise<Uint8Array | undefined>;
  /**
   * Sends a request to which each host may reply several times.
   * @returns all answers that arrive within `timeout` ms
   */
  requestAll(subject: string, data: Uint8Array, timeout: number): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** The latest batch of a host is not the expected one: another program has stored some, or the engine has lost some. */
export class OutOfSequenceError extends Error {}
