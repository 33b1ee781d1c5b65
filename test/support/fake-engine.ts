// An engine of a fleet that stores batches in memory, as far as a forwarder and the claims of host names use it.

import type { RequestHandler } from '#src/fleet/engine.js';
import type { StreamBatch } from '#src/fleet/stream-batch.js';

/** What engines of several hosts have in common. */
export class FakeStream {
  readonly batches: StreamBatch[] = [];
  readonly engines = new Set<FakeEngine>();
}

export class FakeEngine {
  readonly maxBatchBytes = 64 * 1024;
  readonly maxBatchMessages = Number.POSITIVE_INFINITY;
  readonly mayLoseBatches = false;
  /** Called before a batch is stored. */
  beforePublish: () => Promise<void> = async () => {};
  #stream: FakeStream;
  readonly #handlers = new Map<string, RequestHandler>();
  #lost: AbortController | undefined;
  #onConnected: () => void = () => {};
  #connected: Promise<void> = Promise.resolve();

  constructor(stream = new FakeStream()) {
    this.#stream = stream;
    this.connect();
  }

  get batches(): StreamBatch[] {
    return this.#stream.batches;
  }

  get isConnected(): boolean {
    return this.#lost !== undefined;
  }

  get lost(): AbortSignal | undefined {
    return this.#lost?.signal;
  }

  whenConnected(signal: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    return Promise.race([this.#connected, aborted]);
  }

  async lastBatch() {
    return { batch: this.batches.at(-1), previous: this.batches.length };
  }

  async publish(batch: StreamBatch): Promise<number> {
    await this.beforePublish();
    return this.batches.push({ ...batch, body: Buffer.from(batch.body) });
  }

  handle(subject: string, handler: RequestHandler): void {
    if (!this.#handlers.has(subject)) this.#handlers.set(subject, handler);
  }

  notify(): void {}

  async request(subject: string, data: Uint8Array): Promise<Uint8Array | undefined> {
    for (const other of this.#stream.engines) {
      const answer = other === this ? undefined : other.#handlers.get(subject)?.(data);
      if (answer instanceof Uint8Array) return answer;
    }
    return undefined;
  }

  async close(): Promise<void> {
    this.disconnect();
  }

  disconnect(): void {
    this.#stream.engines.delete(this);
    this.#connected = new Promise((resolve) => {
      this.#onConnected = resolve;
    });
    const lost = this.#lost;
    this.#lost = undefined;
    lost?.abort();
  }

  /** @param stream Default: the same as before. */
  connect(stream = this.#stream): void {
    this.#stream = stream;
    stream.engines.add(this);
    this.#lost = new AbortController();
    this.#onConnected();
  }
}
