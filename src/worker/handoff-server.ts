// The worker's side of the direct handoff; see dispatch/handoff.ts.

import { SharedView, STATE, TEXT_AT, writeVerdict } from '../dispatch/handoff-memory.js';
import type { BatchTask, Verdict } from '../dispatch/verdict.js';

/**
 * Validates one batch after another, and sleeps between them, until the main thread releases the worker.
 * @param validate returns `undefined` if the batch has to be posted instead
 */
export function serveHandoff(
  memory: SharedArrayBuffer,
  validate: (task: BatchTask) => Verdict | undefined,
): void {
  const view = new SharedView(memory);
  const { state } = view;
  const arenas = [memory];
  // The worker may have been released before it started here.
  Atomics.compareExchange(state, 0, STATE.NO_WORKER, STATE.WAITING);
  for (;;) {
    const current = Atomics.load(state, 0);
    if (current === STATE.LEAVING) return;
    if (current !== STATE.REQUESTED) {
      Atomics.wait(state, 0, current);
      continue;
    }
    const verdict = validate({ id: 0, arenas, ranges: readRanges(view), maxDetailedRejections: 0 });
    const isAnswered = verdict !== undefined && writeVerdict(view, verdict);
    Atomics.store(state, 0, isAnswered ? STATE.ANSWERED : STATE.RETURNED);
    Atomics.notify(state, 0);
  }
}

/** The ranges in the form of a {@link BatchTask}. */
function readRanges({ ranges }: SharedView): number[] {
  const found: number[] = [];
  let start = TEXT_AT;
  for (let index = 1; index <= (ranges[0] ?? 0); index++) {
    const end = TEXT_AT + (ranges[index] ?? 0);
    found.push(0, start, end);
    start = end;
  }
  return found;
}
