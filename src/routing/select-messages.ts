// Selects the messages of a run for everything that has a matching filter, which it finds through an index.

import { type FrameRun, Selection } from '../delivery/frame-run.js';
import type { FilterIndex } from './filter-index.js';

/** Maximum number of selections kept for reuse, and of messages that each of them may have memory for. */
const MAX_SPARE = 1024;
const MAX_SPARE_CAPACITY = 4096;

/** Something that messages of a run are selected for. */
export interface Target {
  /** The messages selected so far, while those of a run are being selected. */
  selection: Selection | undefined;
}

/** The messages of a run that are selected for a target. */
interface Selected<T extends Target> {
  readonly target: T;
  readonly selection: Selection;
}

/** Selections for reuse. */
export class SelectionPool {
  readonly #spare: Selection[] = [];

  take(): Selection {
    return this.#spare.pop() ?? new Selection();
  }

  release(selection: Selection): void {
    selection.clear();
    if (this.#spare.length < MAX_SPARE && selection.capacity <= MAX_SPARE_CAPACITY)
      this.#spare.push(selection);
  }
}

/**
 * Selects the messages of a run for each target with a matching filter, then delivers them.
 * @param pool where the selections come from, and go to
 * @param deliver gets the number of messages that are selected for all targets together, too
 */
export function selectMessages<T extends Target>(
  run: FrameRun,
  index: FilterIndex<T>,
  pool: SelectionPool,
  deliver: (target: T, selection: Selection, selected: number) => void,
): void {
  const { crawlerId } = run.sender;
  const { others, hasJobs } = index;
  const ofCrawler = index.ofCrawler(crawlerId);
  const ofJobs = hasJobs && mayMatchJobs(index, run);
  if (others.length === 0 && ofCrawler.length === 0 && !ofJobs) return;
  const all: Selected<T>[] = [];
  const { unknownType } = run;
  for (let at = 0; at < run.count; at++) {
    const typeIndex = run.typeIndex(at);
    for (const { filter, target } of others) {
      if (filter.matchesType(typeIndex, unknownType)) add(target, at, filter.mark, all, pool);
    }
    for (const { filter, target } of ofCrawler) {
      if (filter.matchesType(typeIndex, unknownType)) add(target, at, filter.mark, all, pool);
    }
    const job = ofJobs ? run.job(at) : -1;
    if (job === -1) continue;
    const low = run.verdict.jobLow(job);
    if (!index.mayHaveJob(low)) continue;
    const high = run.verdict.jobHigh(job) | 0;
    for (const entry of index.ofJob(low)) {
      if (entry.high !== high) continue;
      const { filter } = entry;
      if (
        entry.matchesAll ||
        (filter.matchesType(typeIndex, unknownType) && filter.matchesCrawler(crawlerId))
      )
        add(entry.target, at, entry.mark, all, pool);
    }
  }
  let total = 0;
  for (const { target, selection } of all) {
    target.selection = undefined;
    total += selection.count;
  }
  // Afterwards, since subscriptions may be removed while messages are delivered: a slow subscriber is disconnected. If
  // one throws, no target may keep its selection, to which the next run would be added.
  for (const { target, selection } of all) {
    deliver(target, selection, total);
    pool.release(selection);
  }
}

/** Adds a message to the selection of a target. */
function add<T extends Target>(
  target: T,
  at: number,
  mark: number,
  all: Selected<T>[],
  pool: SelectionPool,
): void {
  let { selection } = target;
  if (selection === undefined) {
    selection = pool.take();
    target.selection = selection;
    all.push({ target, selection });
  }
  selection.add(at, mark);
}

/** Whether a run may contain messages about jobs with filters. */
function mayMatchJobs<T>(index: FilterIndex<T>, { verdict, index: runIndex }: FrameRun): boolean {
  const end = verdict.jobsEnd(runIndex);
  for (let job = verdict.firstJob(runIndex); job < end; job++)
    if (index.mayHaveJob(verdict.jobLow(job))) return true;
  return false;
}
