// Publishers and fast subscribers, to which a test adds slow ones: measures whether and how fast the fast ones receive.

import { connect, type Socket } from 'node:net';
import { expect } from 'vitest';
import { BrokerProcess } from './broker-process.js';
import { line } from './messages.js';
import { Ledger, ledgerOf, numberedBlock } from './numbered.js';
import { Peer } from './peer.js';
import type { WhenOver } from './share.js';

export const PRODUCERS = 4;
const MAX_PENDING = 2 * 1024 * 1024;
const FLAGS = ['--max-pending-bytes', String(MAX_PENDING)];

/** A subscriber that only counts bytes during a measurement; its messages are checked afterwards. */
class FastSubscriber {
  readonly peer: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Called when bytes are received or the connection ends. */
  #onChange = (): void => {};

  constructor(socketPath: string) {
    this.peer = connect(socketPath);
    this.peer.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      this.#onChange();
    });
    this.peer.on('close', () => this.#onChange());
    this.peer.write(line({ type: 'subscribe', data: { id: 'fast', overflow: 'block' } }));
  }

  async receive(bytes: number): Promise<void> {
    while (this.#bytes < bytes) {
      if (this.peer.closed) throw new Error('closed');
      await new Promise<void>((resolve) => {
        this.#onChange = resolve;
      });
    }
  }

  /** Removes and returns the received bytes. */
  take(): Ledger {
    const ledger = new Ledger();
    for (const chunk of this.#chunks) ledger.readBytes(chunk);
    this.#chunks = [];
    this.#bytes = 0;
    return ledger;
  }
}

/** Reads one byte per second directly from the kernel, which is impossible with a buffering stream. */
export function subscribeByteByByte(socketPath: string, overflow: string): Socket {
  const socket: Socket = connect({
    path: socketPath,
    onread: {
      buffer: Buffer.alloc(1),
      callback: () => {
        setTimeout(() => socket.resume(), 1000).unref();
        return false;
      },
    },
  });
  socket.on('error', () => {});
  socket.write(line({ type: 'subscribe', data: { id: 'slow', overflow } }));
  return socket;
}

async function sendAll(socket: Socket, parts: readonly Buffer[]): Promise<void> {
  for (const part of parts) {
    if (!socket.write(part)) await new Promise((resolve) => socket.once('drain', resolve));
  }
}

export class Field {
  readonly broker: BrokerProcess;
  /** Messages that each producer sends in a round. */
  readonly each: number;
  /** Data of each producer, built in advance so that the measured time is that of the broker. */
  readonly #blocks: readonly (readonly Buffer[])[];
  readonly #roundBytes: number;
  readonly #publishers: Socket[];
  readonly #fast: FastSubscriber[];

  private constructor(broker: BrokerProcess, each: number, publishers: Socket[], fast: FastSubscriber[]) {
    this.broker = broker;
    this.each = each;
    this.#blocks = Array.from({ length: PRODUCERS }, (_, producer) =>
      Array.from({ length: 10 }, (_, part) =>
        Buffer.from(numberedBlock(producer, (part * each) / 10, ((part + 1) * each) / 10)),
      ),
    );
    this.#roundBytes = this.#blocks.flat().reduce((sum, { length }) => sum + length, 0);
    this.#publishers = publishers;
    this.#fast = fast;
  }

  /** @param each messages that each producer sends in a round */
  static async start(each: number, whenOver?: WhenOver): Promise<Field> {
    const broker = await BrokerProcess.start(FLAGS, undefined, whenOver);
    const fast = [new FastSubscriber(broker.socketPath), new FastSubscriber(broker.socketPath)];
    await Promise.all(fast.map((subscriber) => subscriber.receive(1)));
    for (const subscriber of fast) subscriber.take();
    const publishers = Array.from({ length: PRODUCERS }, () => connect(broker.socketPath).resume());
    return new Field(broker, each, publishers, fast);
  }

  /** Whether all publishers are blocked by backpressure. */
  get isStuck(): boolean {
    return this.#publishers.every(({ writableNeedDrain }) => writableNeedDrain);
  }

  /** Sends everything once. Returns the time until the fast subscribers had received it, in ms, and the faults. */
  async round(): Promise<{ elapsed: number; faults: string[] }> {
    const startedAt = performance.now();
    const sending = this.#publishers.map((socket, index) => sendAll(socket, this.#blocks[index] ?? []));
    await Promise.all([...sending, ...this.#fast.map((subscriber) => subscriber.receive(this.#roundBytes))]);
    const elapsed = performance.now() - startedAt;
    const faults = this.#fast.flatMap((subscriber) => {
      const ledger = subscriber.take();
      return this.faults(ledger);
    });
    return { elapsed, faults };
  }

  /**
   * Like {@link round}, with one subscriber that does not read until the end and one that reads one byte per second.
   * The first one's messages are in order, and its gaps are reported.
   */
  async roundBesideSlow(
    overflow: 'disconnect' | 'drop-oldest' | 'drop-newest',
  ): Promise<{ elapsed: number; faults: string[] }> {
    const { socketPath } = this.broker;
    const stopped = await (await Peer.connect(socketPath)).subscribe({ overflow });
    stopped.socket.pause();
    const trickle = subscribeByteByByte(socketPath, overflow);
    const result = await this.round();
    stopped.socket.resume();
    if (overflow === 'disconnect') {
      // Often too late to get the reason: a peer that is closed has a second to begin to read.
      await stopped.closed;
    } else {
      await stopped.settled();
      expect(stopped.errors).toContain('SLOW_CONSUMER');
    }
    const ledger = ledgerOf(stopped);
    for (let producer = 0; producer < PRODUCERS; producer++) {
      const numbers = ledger.of(producer);
      expect(numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? 0))).toBe(true);
    }
    expect(ledger.total).toBeLessThan(PRODUCERS * this.each);
    await stopped.close();
    trickle.destroy();
    return result;
  }

  /** Faults of a ledger after one round. */
  faults(ledger: Ledger): string[] {
    return this.#blocks.flatMap((_, producer) => ledger.faults(producer, this.each));
  }

  close(): void {
    for (const socket of [...this.#publishers, ...this.#fast.map(({ peer }) => peer)]) socket.destroy();
  }
}
