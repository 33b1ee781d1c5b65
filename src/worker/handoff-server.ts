// The worker's side of the direct handoff; see dispatch/handoff.ts.

import { SharedView, STATE, TEXT_AT, writeVerdict } from '../dispatch/handoff-memory.js';
import type { BatchTask, Verdict } from '../dispatch/verdict.js';

/**
 * Answers one batch after another, and sleeps between them, until it is sent away.
 * @param validate gives `undefined` for a batch to decline
 */
export function serveHandoff(
  memory: SharedArrayBuffer,
  validate: (task: BatchTask) => Verdict | undefined,
): void {
  const view = new SharedView(memory);
  const { state } = view;
  const arenas = [memory];
  // It may have been sent away before it came.
  Atomics.compareExchange(state, 0, STATE.NOBODY, STATE.WAITING);
  for (;;) {
    const present = Atomics.load(state, 0);
    if (present === STATE.LEAVING) return;
    if (present !== STATE.REQUESTED) {
      Atomics.wait(state, 0, present);
      continue;
    }
    const verdict = validate({ id: 0, arenas, ranges: readRanges(view), maxDetailedRejections: 0 });
    const isAnswered = verdict !== undefined && writeVerdict(view, verdict);
    Atomics.store(state, 0, isAnswered ? STATE.ANSWERED : STATE.DECLINED);
    Atomics.notify(state, 0);
  }
}

/** As a {@link BatchTask} has them. */
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
