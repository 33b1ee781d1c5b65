// Direct handoff: a worker waits on shared memory, and takes small batches from there in place of messages; its
// verdict comes back the same way. That spares a small batch on an idle broker most of the way to the worker and
// back. Only what patterns know is answered: the worker declines all else, and it goes the usual way. The worker's side is
// worker/handoff-server.ts.

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
  /** To be sent to the worker that is to wait here. */
  readonly memory = new SharedArrayBuffer(MEMORY_SIZE);
  readonly #view = new SharedView(this.memory);
  /** Ends the batch that the worker has; none: it has none. */
  #reject: ((error: unknown) => void) | undefined;
  #isLeaving = false;

  /** Whether a worker waits, and may be handed this batch. */
  takes(batch: readonly FrameRange[]): boolean {
    if (this.#reject !== undefined || this.#isLeaving) return false;
    return Atomics.load(this.#view.state, 0) !== STATE.NOBODY && fitsHandoff(batch);
  }

  /**
   * Hands over a batch that it {@link takes}. Resolves with the verdict; `undefined` when the worker declines.
   * @throws SluiceError `WORKERS_FAILED` when the worker ends
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

  /** Sends the worker back to its other work: at once, or when it has answered. */
  leave(): void {
    this.#isLeaving = true;
    if (this.#reject === undefined) this.#setState(STATE.LEAVING);
  }

  /** The worker has gone. */
  close(): void {
    const reject = this.#reject;
    this.#reject = undefined;
    this.leave();
    reject?.(new SluiceError('WORKERS_FAILED', 'the worker has ended'));
  }

  #setState(state: number): void {
    Atomics.store(this.#view.state, 0, state);
    Atomics.notify(this.#view.state, 0);
  }

  /** Does not block: the event loop goes on until the worker says that it is done. */
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
