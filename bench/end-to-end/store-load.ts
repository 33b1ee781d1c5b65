// The load of the durable scenarios, in a process of its own: stores messages and counts their confirmations, times
// single confirmations, or reads all stored messages.

import type { Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { open, type Target } from './connect.js';
import { blockOf } from './content.js';
import { BLOCK, STORE_WIRES, type StoreWire, type StoreWireName } from './stores.js';

/** The first argument, as JSON. */
export type StoreLoadSettings = Target & { readonly wire: StoreWireName } & (
    | { readonly role: 'store'; readonly publishers: number; readonly phases: readonly number[] }
    | { readonly role: 'confirm'; readonly samples: number; readonly warmUp: number }
    | {
        readonly role: 'deliver';
        /** Where the reader connects. */
        readonly reader: Target;
        readonly samples: number;
        readonly warmUp: number;
      }
    | { readonly role: 'replay'; readonly messages: number }
  );

/** `ready`, then one after each `go`. */
export interface StoreLoadReport {
  readonly event: 'ready' | 'done';
  /** Messages that were confirmed or read, and their bytes. */
  readonly messages: number;
  readonly bytes: number;
  /** Times from publishing to confirmation, in µs, sorted. */
  readonly latencies?: readonly number[];
}

/** Blocks of a publisher that may be unconfirmed. */
const WINDOW = 4;
const READ_SIZE = 512 * 1024;
/** Bytes at the end of what was read that contain the last message. */
const TAIL = 16 * 1024;

const report = (message: StoreLoadReport): void => void process.send?.(message);
const nextCommand = () => new Promise((resolve) => process.once('message', resolve));

/** Counts confirmations, also those that arrive in two parts. */
class ConfirmationCounter {
  count = 0;
  readonly #token: Buffer;
  #rest: Buffer = Buffer.alloc(0);

  constructor(token: Buffer) {
    this.#token = token;
  }

  add(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let from = 0;
    for (let at = all.indexOf(this.#token); at !== -1; at = all.indexOf(this.#token, from)) {
      this.count++;
      from = at + this.#token.length;
    }
    this.#rest = Buffer.from(all.subarray(Math.max(from, all.length - this.#token.length + 1)));
  }
}

/** A publishing connection. */
class StoreClient {
  readonly #socket: Socket;
  readonly #counter: ConfirmationCounter;
  #wake: () => void = () => {};

  private constructor(socket: Socket, wire: StoreWire) {
    this.#socket = socket;
    this.#counter = new ConfirmationCounter(wire.confirmation);
    socket.on('data', (bytes: Buffer) => {
      this.#counter.add(bytes);
      this.#wake();
    });
  }

  static async connect(target: Target, wire: StoreWire): Promise<StoreClient> {
    const socket = await open(target);
    socket.on('close', () => {
      process.stderr.write('the broker closed a publisher\n');
      process.exit(1);
    });
    const { greeting } = wire;
    if (greeting !== undefined) {
      socket.write(greeting.bytes);
      let answer = '';
      while (!answer.includes(greeting.answer)) {
        answer += await new Promise((resolve) => socket.once('data', (bytes) => resolve(String(bytes))));
      }
    }
    return new StoreClient(socket, wire);
  }

  get confirmed(): number {
    return this.#counter.count;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Resolves when there are this many confirmations since the start. */
  async whenConfirmed(count: number): Promise<void> {
    while (this.confirmed < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The bytes of a block, and how many confirmations it gets. */
function blockFor(publisher: number, publishers: number, wire: StoreWire) {
  const all = blockOf({ block: BLOCK }, publisher, publishers);
  const parts = all.map(({ line }) => wire.encode(line));
  if (wire.afterBlock !== undefined) parts.push(wire.afterBlock);
  const bytes = Buffer.concat(parts);
  const size = all.reduce((sum, { line }) => sum + Buffer.byteLength(line) + 1, 0);
  return { bytes, size, messages: all.length, confirmations: wire.afterBlock === undefined ? all.length : 1 };
}

async function store(
  target: Target,
  wire: StoreWire,
  publishers: number,
  phases: readonly number[],
): Promise<void> {
  const clients: { client: StoreClient; block: ReturnType<typeof blockFor> }[] = [];
  for (let publisher = 0; publisher < publishers; publisher++) {
    const block = blockFor(publisher, publishers, wire);
    clients.push({ client: await StoreClient.connect(target, wire), block });
  }
  report({ event: 'ready', messages: 0, bytes: 0 });
  for (const blocks of phases) {
    await nextCommand();
    await Promise.all(
      clients.map(async ({ client, block }) => {
        const before = client.confirmed;
        for (let sent = 0; sent < blocks; sent++) {
          await client.whenConfirmed(before + (sent + 1 - WINDOW) * block.confirmations);
          client.write(block.bytes);
        }
        await client.whenConfirmed(before + blocks * block.confirmations);
      }),
    );
    const sum = (of: (block: ReturnType<typeof blockFor>) => number) =>
      clients.reduce((total, { block }) => total + blocks * of(block), 0);
    report({ event: 'done', messages: sum(({ messages }) => messages), bytes: sum(({ size }) => size) });
  }
}

/** One message at a time, each sent when the one before it is confirmed. */
async function confirm(target: Target, wire: StoreWire, samples: number, warmUp: number): Promise<void> {
  const client = await StoreClient.connect(target, wire);
  const [message] = blockOf({ size: 'fixed' }, 0, 1);
  if (message === undefined) throw new Error('there is no message');
  const bytes = Buffer.concat([wire.encode(message.line), wire.afterBlock ?? Buffer.alloc(0)]);
  report({ event: 'ready', messages: 0, bytes: 0 });
  await nextCommand();
  const latencies: number[] = [];
  for (let sent = 1; sent <= warmUp + samples; sent++) {
    const startedAt = performance.now();
    client.write(bytes);
    await client.whenConfirmed(sent);
    if (sent > warmUp) latencies.push((performance.now() - startedAt) * 1000);
  }
  latencies.sort((a, b) => a - b);
  report({ event: 'done', messages: samples, bytes: samples * bytes.length, latencies });
}

/** One message at a time, each sent when the one before it has arrived at another connection. */
async function deliver(
  target: Target,
  wire: StoreWire,
  reader: Target,
  samples: number,
  warmUp: number,
): Promise<void> {
  const client = await StoreClient.connect(target, wire);
  const socket = await open(reader);
  const arrived = new ConfirmationCounter(Buffer.from('"timestamp"'));
  let wake: () => void = () => {};
  socket.on('data', (bytes: Buffer) => {
    arrived.add(bytes);
    wake();
  });
  socket.write(wire.follow);
  // Until it is subscribed.
  await setTimeout(1000);
  const [message] = blockOf({ size: 'fixed' }, 0, 1);
  if (message === undefined) throw new Error('there is no message');
  const bytes = wire.encode(message.line);
  report({ event: 'ready', messages: 0, bytes: 0 });
  await nextCommand();
  const before = arrived.count;
  const latencies: number[] = [];
  for (let sent = 1; sent <= warmUp + samples; sent++) {
    const startedAt = performance.now();
    client.write(bytes);
    while (arrived.count < before + sent)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    if (sent > warmUp) latencies.push((performance.now() - startedAt) * 1000);
  }
  latencies.sort((a, b) => a - b);
  report({ event: 'done', messages: samples, bytes: samples * bytes.length, latencies });
}

async function replay(target: Target, wire: StoreWire, messages: number): Promise<void> {
  const buffer = Buffer.allocUnsafe(READ_SIZE);
  let tail = '';
  let bytes = 0;
  let isDone: () => boolean = () => false;
  let finish: () => void = () => {};
  const callback = (length: number): boolean => {
    bytes += length;
    tail = (tail + buffer.toString('latin1', Math.max(0, length - TAIL), length)).slice(-TAIL);
    if (isDone()) finish();
    return true;
  };
  const until = (condition: () => boolean): Promise<void> => {
    isDone = condition;
    return new Promise((resolve) => {
      finish = resolve;
    });
  };
  const socket = await open(target, { buffer, callback });
  if (wire.last !== undefined) {
    socket.write(wire.last);
    await until(() => wire.end(messages, tail) !== '');
  }
  const end = wire.end(messages, tail);
  report({ event: 'ready', messages: 0, bytes: 0 });
  await nextCommand();
  tail = '';
  bytes = 0;
  const read = until(() => tail.includes(end));
  socket.write(wire.read);
  await read;
  report({ event: 'done', messages, bytes });
}

const settings = JSON.parse(process.argv[2] ?? '{}') as StoreLoadSettings;
process.on('disconnect', () => process.exit());
const wire = STORE_WIRES[settings.wire];
if (settings.role === 'store') await store(settings, wire, settings.publishers, settings.phases);
else if (settings.role === 'confirm') await confirm(settings, wire, settings.samples, settings.warmUp);
else if (settings.role === 'deliver')
  await deliver(settings, wire, settings.reader, settings.samples, settings.warmUp);
else await replay(settings, wire, settings.messages);
