// Direct handoff: a worker waits on shared memory and reads small batches from there instead of receiving them as
// thread messages; its verdict comes back the same way. On an idle broker, this saves a small batch most of the latency
// to the worker and back. Only batches that patterns match completely are validated this way: the worker returns all
// others, which are then posted as usual. The worker's side is worker/handoff-server.ts.

import { SluiceError } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { MAX_BYTES, MAX_RANGES, MEMORY_SIZE, readVerdict, SharedView, STATE } from './handoff-memory.js';
import type { Verdict } from './verdict.js';

/** Whether a batch is small enough to be handed over. */
export function fitsHandoff(batch: readonly FrameRange[]): boolean {
  let bytes = 0;
  for (const { start, end } of batch) bytes += end - start;
  return bytes <= MAX_BYTES && batch.length <= MAX_RANGES;
}

/** The main thread's side. */
export class Handoff {
  /** Sent to the worker that will wait on it. */
  readonly memory = new SharedArrayBuffer(MEMORY_SIZE);
  readonly #view = new SharedView(this.memory);
  /** Rejects the promise of the batch that the worker has; `undefined` if it has none. */
  #reject: ((error: unknown) => void) | undefined;
  #isLeaving = false;

  /** Whether a worker is waiting and the batch fits. */
  takes(batch: readonly FrameRange[]): boolean {
    if (this.#reject !== undefined || this.#isLeaving) return false;
    return Atomics.load(this.#view.state, 0) !== STATE.NO_WORKER && fitsHandoff(batch);
  }

  /**
   * Hands over a batch for which {@link takes} is true. Resolves with the verdict, or `undefined` if the worker returns
   * it.
   * @throws SluiceError `WORKERS_FAILED` if the worker exits
   */
  run(batch: readonly FrameRange[]): Promise<Verdict | undefined> {
    const { state, ranges, text } = this.#view;
    let at = 0;
    ranges[0] = batch.length;
    batch.forEach(({ slab, start, end }, index) => {
      at += slab.arena.bytes.copy(text, at, start, end);
      ranges[index + 1] = at;
    });
    this.#setState(STATE.REQUESTED);
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#whenAnswered(() => {
        this.#reject = undefined;
        const isAnswered = Atomics.load(state, 0) === STATE.ANSWERED;
        const verdict = isAnswered ? readVerdict(this.#view, batch) : undefined;
        if (this.#isLeaving) this.#setState(STATE.LEAVING);
        resolve(verdict);
      });
    });
  }

  /** Releases the worker for other tasks: immediately, or after its current batch. */
  leave(): void {
    this.#isLeaving = true;
    if (this.#reject === undefined) this.#setState(STATE.LEAVING);
  }

  /** Rejects a pending batch, because the worker has exited or was released. */
  close(): void {
    const reject = this.#reject;
    this.#reject = undefined;
    this.leave();
    reject?.(new SluiceError('WORKERS_FAILED', 'the worker exited'));
  }

  #setState(state: number): void {
    Atomics.store(this.#view.state, 0, state);
    Atomics.notify(this.#view.state, 0);
  }

  /** Waits for the worker's response without blocking the event loop. */
  #whenAnswered(onAnswer: () => void): void {
    const check = (): void => {
      if (this.#reject === undefined) return;
      if (Atomics.load(this.#view.state, 0) === STATE.REQUESTED) this.#whenAnswered(onAnswer);
      else onAnswer();
    };
    const answer = Atomics.waitAsync(this.#view.state, 0, STATE.REQUESTED);
    if (answer.async) void answer.value.then(check);
    else check();
  }
}
