// Chunks that wait for a worker. Connections take turns, one chunk each, so that nobody waits for more than one chunk of
// every other; those that have little to say come before all others.

import { Fifo } from '../fifo.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { Chunk, type Lane } from './lane.js';

/** Bytes that a connection may have waiting and still come first. */
const LITTLE = 8 * 1024;

export class FairQueue {
  /** Of connections that have little waiting, in the order in which they came. */
  readonly #first = new Fifo<Chunk>();
  /** Of all others, by connection. */
  readonly #others = new Map<Lane, Fifo<Chunk>>();
  /** Whose turn is next: those with chunks in {@link #others}. */
  readonly #turns = new Fifo<Lane>();
  #bytes = 0;

  /** Bytes of all that waits. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#first.length === 0 && this.#turns.length === 0;
  }

  /** Adds what a connection has received to its latest chunk, or as a new one. */
  add(lane: Lane, range: FrameRange, now: number): void {
    this.#bytes += range.end - range.start;
    const others = this.#others.get(lane);
    const latest = (others ?? this.#first).peekLast();
    const isLittle = others === undefined && lane.pendingBytes <= LITTLE;
    if (latest?.lane === lane && (others !== undefined || isLittle) && latest.extend(range)) return;
    const chunk = new Chunk(lane, range, now);
    lane.push(chunk);
    if (isLittle) this.#first.push(chunk);
    else if (others !== undefined) others.push(chunk);
    else this.#addTurn(lane, chunk);
  }

  /** The chunk whose turn it is. */
  peek(): Chunk | undefined {
    const first = this.#first.peek();
    if (first !== undefined) return first;
    const lane = this.#turns.peek();
    return lane && this.#others.get(lane)?.peek();
  }

  /** Takes out the chunk whose turn it is. */
  take(): Chunk | undefined {
    const chunk = this.#first.shift() ?? this.#takeTurn();
    this.#bytes -= chunk?.size ?? 0;
    return chunk;
  }

  /** Puts chunks before all others. */
  putBack(chunks: readonly Chunk[]): void {
    for (const { size } of chunks) this.#bytes += size;
    this.#first.unshift(...chunks);
  }

  /** Puts back what is left of a chunk that was taken: it is the first of its connection, which has had its turn. */
  returnRest(chunk: Chunk): void {
    this.#bytes += chunk.size;
    const others = this.#others.get(chunk.lane);
    if (others !== undefined) others.unshift(chunk);
    else this.#addTurn(chunk.lane, chunk);
  }

  /** Takes out all chunks of one connection. */
  takeAllOf(lane: Lane): Chunk[] {
    const first = this.#first.extract((chunk) => chunk.lane === lane);
    const chunks = [...first, ...(this.#others.get(lane) ?? [])];
    if (this.#others.delete(lane)) this.#turns.extract((other) => other === lane);
    for (const { size } of chunks) this.#bytes -= size;
    return chunks;
  }

  /** Takes out everything. */
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
