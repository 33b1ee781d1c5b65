// A queue of chunks that wait for a worker. Connections take turns with one chunk each, so that no connection waits for
// more than one chunk of every other. Connections with few pending bytes take precedence.

import { Fifo } from '../fifo.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { Chunk, type Lane } from './lane.js';

/** A connection with at most this many pending bytes takes precedence. */
const PRIORITY_BYTES = 8 * 1024;

export class FairQueue {
  /** Chunks of connections with few pending bytes, in order of arrival. */
  readonly #first = new Fifo<Chunk>();
  /** Chunks of all other connections, by connection. */
  readonly #others = new Map<Lane, Fifo<Chunk>>();
  /** Order of turns of the connections with chunks in {@link #others}. */
  readonly #turns = new Fifo<Lane>();
  #bytes = 0;

  /** Bytes of all queued chunks. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#first.length === 0 && this.#turns.length === 0;
  }

  /** Adds received messages to the connection's latest chunk, or as a new chunk. */
  add(lane: Lane, range: FrameRange, now: number): void {
    this.#bytes += range.end - range.start;
    const others = this.#others.get(lane);
    const latest = (others ?? this.#first).peekLast();
    const isFirst = others === undefined && lane.pendingBytes <= PRIORITY_BYTES;
    if (latest?.lane === lane && (others !== undefined || isFirst) && latest.extend(range)) return;
    const chunk = new Chunk(lane, range, now);
    lane.push(chunk);
    if (isFirst) this.#first.push(chunk);
    else if (others !== undefined) others.push(chunk);
    else this.#addTurn(lane, chunk);
  }

  /** The next chunk. */
  peek(): Chunk | undefined {
    const first = this.#first.peek();
    if (first !== undefined) return first;
    const lane = this.#turns.peek();
    return lane && this.#others.get(lane)?.peek();
  }

  /** Removes and returns the next chunk. */
  take(): Chunk | undefined {
    const chunk = this.#first.shift() ?? this.#takeTurn();
    this.#bytes -= chunk?.size ?? 0;
    return chunk;
  }

  /** Puts chunks back at the head of the queue. */
  putBack(chunks: readonly Chunk[]): void {
    for (const { size } of chunks) this.#bytes += size;
    this.#first.unshift(chunks);
  }

  /** Puts back the rest of a chunk that was taken: as the first of its connection, which has already had its turn. */
  returnRest(chunk: Chunk): void {
    this.#bytes += chunk.size;
    const others = this.#others.get(chunk.lane);
    if (others !== undefined) others.unshift([chunk]);
    else this.#addTurn(chunk.lane, chunk);
  }

  /** Removes and returns all chunks of one connection. */
  takeAllOf(lane: Lane): Chunk[] {
    const first = this.#first.extract((chunk) => chunk.lane === lane);
    const chunks = [...first, ...(this.#others.get(lane) ?? [])];
    if (this.#others.delete(lane)) this.#turns.extract((other) => other === lane);
    for (const { size } of chunks) this.#bytes -= size;
    return chunks;
  }

  /** Removes and returns all chunks. */
  takeAll(): Chunk[] {
    const chunks: Chunk[] = [];
    for (let chunk = this.take(); chunk !== undefined; chunk = this.take()) chunks.push(chunk);
    return chunks;
  }

  #addTurn(lane: Lane, chunk: Chunk): void {
    const chunks = new Fifo<Chunk>();
    chunks.push(chunk);
    this.#others.set(lane, chunks);
    this.#turns.push(lane);
  }

  #takeTurn(): Chunk | undefined {
    const lane = this.#turns.shift();
    const chunks = lane && this.#others.get(lane);
    if (lane === undefined || chunks === undefined) return undefined;
    const chunk = chunks.shift();
    if (chunks.length > 0) this.#turns.push(lane);
    else this.#others.delete(lane);
    return chunk;
  }
}
