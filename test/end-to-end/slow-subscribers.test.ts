// Subscribers that stop reading, or read one byte a second: what the others get, and how fast they get it.

import { connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { until } from '../support/broker.js';
import { BrokerProcess } from '../support/broker-process.js';
import { line } from '../support/messages.js';
import { Ledger, numberedBlock } from '../support/numbered.js';
import { Peer } from '../support/peer.js';

const PRODUCERS = 4;
const EACH = 50_000;
/** Writes of one producer: built beforehand, so that sending costs little and the broker is what is measured. */
const blocks = Array.from({ length: PRODUCERS }, (_, producer) =>
  Array.from({ length: 10 }, (_, part) =>
    Buffer.from(numberedBlock(producer, (part * EACH) / 10, ((part + 1) * EACH) / 10)),
  ),
);
const roundBytes = blocks.flat().reduce((sum, { length }) => sum + length, 0);

/** Pairs of rounds at most: as many as it takes to see past the noise of a busy machine. */
const MAX_PAIRS = 40;
const MIN_PAIRS = 3;
const LEAST_SHARE = 0.95;
const MAX_PENDING = 2 * 1024 * 1024;
const FLAGS = ['--max-pending-bytes', String(MAX_PENDING)];

/** The mean of the fastest third: noise only ever takes time, and a single best may be luck. */
function typical(times: readonly number[]): number {
  const fastest = times.toSorted((a, b) => a - b).slice(0, Math.ceil(times.length / 3));
  return fastest.reduce((sum, time) => sum + time, 0) / fastest.length;
}

/** A subscriber that only counts while it is measured, and is looked through afterwards. */
class FastSubscriber {
  readonly peer: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Called when bytes have come, or none will any more. */
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

  get bytes(): number {
    return this.#bytes;
  }

  async receive(bytes: number): Promise<void> {
    while (this.#bytes < bytes) {
      if (this.peer.closed) throw new Error('closed');
      await new Promise<void>((resolve) => {
        this.#onChange = resolve;
      });
    }
  }

  /** Takes out what has come. */
  take(): Ledger {
    const ledger = new Ledger();
    for (const chunk of this.#chunks) ledger.readBytes(chunk);
    this.#chunks = [];
    this.#bytes = 0;
    return ledger;
  }
}

/** Reads one byte, waits for a second, and so on: from the kernel, which no stream's buffer does. */
function subscribeByteByByte(socketPath: string, overflow: string): Socket {
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

class Field {
  readonly broker: BrokerProcess;
  readonly #publishers: Socket[];
  readonly #fast: FastSubscriber[];

  private constructor(broker: BrokerProcess, publishers: Socket[], fast: FastSubscriber[]) {
    this.broker = broker;
    this.#publishers = publishers;
    this.#fast = fast;
  }

  static async start(): Promise<Field> {
    const broker = await BrokerProcess.start(FLAGS);
    const fast = [new FastSubscriber(broker.socketPath), new FastSubscriber(broker.socketPath)];
    await Promise.all(fast.map((subscriber) => subscriber.receive(1)));
    for (const subscriber of fast) subscriber.take();
    const publishers = blocks.map(() => connect(broker.socketPath).resume());
    return new Field(broker, publishers, fast);
  }

  /** Whether no publisher can write any more. */
  get isStuck(): boolean {
    return this.#publishers.every(({ writableNeedDrain }) => writableNeedDrain);
  }

  /** Bytes of the present round that both fast ones have. */
  get received(): number {
    return Math.min(...this.#fast.map(({ bytes }) => bytes));
  }

  /** Sends everything once. Gives how long it took to reach the fast ones, in ms, and what they lack. */
  async round(): Promise<{ elapsed: number; faults: string[] }> {
    const startedAt = performance.now();
    const sending = this.#publishers.map((socket, index) => sendAll(socket, blocks[index] ?? []));
    await Promise.all([...sending, ...this.#fast.map((subscriber) => subscriber.receive(roundBytes))]);
    const elapsed = performance.now() - startedAt;
    const faults = this.#fast.flatMap((subscriber) => {
      const ledger = subscriber.take();
      return blocks.flatMap((_, producer) => ledger.faults(producer, EACH));
    });
    return { elapsed, faults };
  }

  close(): void {
    for (const socket of [...this.#publishers, ...this.#fast.map(({ peer }) => peer)]) socket.destroy();
  }
}

describe('beside slow subscribers, the others lose nothing and keep their rate', () => {
  test.each(['disconnect', 'drop-oldest', 'drop-newest'] as const)('%s', async (overflow) => {
    const field = await Field.start();
    const { socketPath } = field.broker;
    const faults: string[] = [...(await field.round()).faults];
    const alone: number[] = [];
    const beside: number[] = [];
    let share = 0;
    for (let pair = 0; pair < MAX_PAIRS; pair++) {
      const without = await field.round();
      const stopped = await (await Peer.connect(socketPath)).subscribe({ overflow });
      stopped.socket.pause();
      const trickle = subscribeByteByByte(socketPath, overflow);
      const round = field.round();
      if (overflow === 'disconnect') {
        // By then it is behind. It has a second to read why it is closed; a round may take longer on a busy machine.
        await until(() => field.received > 2 * MAX_PENDING);
        stopped.socket.resume();
      }
      const withThem = await round;
      alone.push(without.elapsed);
      beside.push(withThem.elapsed);
      share = typical(alone) / typical(beside);
      faults.push(...without.faults, ...withThem.faults);

      // What the stopped one gets once it reads again is in order, with its gaps told.
      stopped.socket.resume();
      if (overflow === 'disconnect') await stopped.closed;
      else await stopped.settled();
      expect(stopped.errors).toContain('SLOW_CONSUMER');
      const ledger = new Ledger();
      for (const text of stopped.lines) ledger.readLine(text);
      for (const producer of blocks.keys()) {
        const numbers = ledger.of(producer);
        expect(numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? 0))).toBe(
          true,
        );
      }
      expect(ledger.total).toBeLessThan(PRODUCERS * EACH);
      await stopped.close();
      trickle.destroy();
      if (pair + 1 >= MIN_PAIRS && share >= LEAST_SHARE) break;
    }
    field.close();
    expect(faults).toEqual([]);
    expect(share).toBeGreaterThanOrEqual(LEAST_SHARE);
  });

  test('block: all wait for the slow one, and nobody loses anything', async () => {
    const field = await Field.start();
    const { socketPath } = field.broker;
    const stopped = await (await Peer.connect(socketPath)).subscribe({ overflow: 'block' });
    const trickle = subscribeByteByByte(socketPath, 'block');
    stopped.socket.pause();
    let isOver = false;
    const round = field.round().finally(() => {
      isOver = true;
    });
    await until(() => field.isStuck);
    // That nothing more happens can only be waited for.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(field.isStuck).toBe(true);
    expect(isOver).toBe(false);
    trickle.destroy();
    stopped.socket.resume();
    expect((await round).faults).toEqual([]);
    const ledger = new Ledger();
    await stopped.count(PRODUCERS * EACH + 1);
    for (const text of stopped.lines) ledger.readLine(text);
    expect([...blocks.keys()].flatMap((producer) => ledger.faults(producer, EACH))).toEqual([]);
    field.close();
    await stopped.close();
  });
});
