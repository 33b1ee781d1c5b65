// Records what the forwarded messages of crawlers say about jobs: who owns each, whether it has ended, and its latest
// message. Looks only at the last message of a run about each job, which the worker has found.

import type { FrameRun } from '../delivery/frame-run.js';
import { NO_FRAME } from '../dispatch/verdict.js';
import { NumberList } from '../memory/number-list.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { jobIdIn } from './job-id.js';
import { type CrawlerIdentity, JOB_STATE, type JobOwners, type JobUpdates } from './job-owners.js';
import type { LastValues } from './last-values.js';

/** Stands for the heartbeats of a run. */
const HEARTBEAT = -2;

/** Jobs of a run, with the indexes of the messages that are about them. Beyond `count`, those of an earlier run. */
interface Updates extends JobUpdates {
  readonly indexes: Uint32Array;
  count: number;
  /** Index of the last heartbeat; -1 if there is none. */
  heartbeat: number;
}

const INITIAL_CAPACITY = 1024;
/** Up to this many messages of a run for each one to record, passing through all takes less time than sorting these. */
const MESSAGES_PER_SORTED = 16;
const NONE = -1;

export class RunRecorder {
  readonly #owners: JobOwners;
  readonly #lastValues: LastValues | undefined;
  readonly #jobSeed: JobSeed;
  /** Seed of the keys of crawlers, so that these differ from those of jobs. */
  readonly #crawlerSeed: JobSeed;
  /** 1 for a type that reports a workload, by type index. */
  readonly #isHeartbeat: Uint8Array;
  /** 1 for a type that ends its job, by type index. */
  readonly #endsJob: Uint8Array;
  /** Number of the current run, a signed integer that overflows. */
  #runs = 0;
  /** Indexes of the messages of the current run to record. */
  readonly #latest = new NumberList();
  #updates = newUpdates(INITIAL_CAPACITY);
  /** 1 for the messages to record, while they are sorted; else 0. */
  #isLatest = new Uint8Array(INITIAL_CAPACITY);

  /** @param lastValues keeps the latest messages. If `undefined`, none are kept. */
  constructor(
    registry: MessageRegistry,
    owners: JobOwners,
    lastValues: LastValues | undefined,
    jobSeed: JobSeed,
  ) {
    this.#owners = owners;
    this.#lastValues = lastValues;
    this.#jobSeed = jobSeed;
    this.#crawlerSeed = [jobSeed[1], jobSeed[0]];
    this.#isHeartbeat = Uint8Array.from(registry.types, ({ traits }) => (traits.reportsWorkload ? 1 : 0));
    this.#endsJob = Uint8Array.from(registry.types, ({ traits }) => (traits.endsJob ? 1 : 0));
  }

  /**
   * Records a run. A heartbeat does not count as a message of a job, but its sender owns the job that the last one names.
   * @param sender the crawler that sent the messages. If `undefined`, jobs keep their owners, and end if a message says so.
   */
  record(run: FrameRun, sender: CrawlerIdentity | undefined): void {
    this.#findLatest(run);
    const updates = this.#readUpdates(run);
    const { indexes, lows, highs } = updates;
    if (sender === undefined) this.#owners.endAll(updates);
    else
      this.#owners.setAll(updates, sender, this.#runs, (at) =>
        jobIdIn(run.message(indexes[at] ?? 0), lows[at] ?? 0, highs[at] ?? 0, this.#jobSeed),
      );
    if (this.#lastValues !== undefined)
      this.#keepLatest(run, updates, this.#lastValues, sender !== undefined);
  }

  /** Keeps the latest messages, and the heartbeat, in the order of receipt. */
  #keepLatest(run: FrameRun, updates: Updates, lastValues: LastValues, hasOwner: boolean): void {
    const { indexes, lows, highs, states } = updates;
    let { heartbeat } = updates;
    // A message without an owner has to take the place of an earlier one in any case.
    const isKept = !hasOwner || lastValues.hasTime(run.chunk.receivedAt);
    const count = isKept || lastValues.hasOwnerless ? updates.count : 0;
    for (let at = 0; at < count; at++) {
      const index = indexes[at] ?? 0;
      if (heartbeat !== NONE && index > heartbeat) {
        this.#keepHeartbeat(run, heartbeat, lastValues);
        heartbeat = NONE;
      }
      // A heartbeat is no message about the job.
      if (states[at] === JOB_STATE.MENTIONED) continue;
      const [low, high] = [lows[at] ?? 0, highs[at] ?? 0];
      if (isKept) lastValues.set(low, high, run, index, hasOwner ? this.#runs : undefined);
      else lastValues.invalidate(low, high);
    }
    if (heartbeat !== NONE) this.#keepHeartbeat(run, heartbeat, lastValues);
  }

  /** Reads what the messages to record say about jobs. */
  #readUpdates(run: FrameRun): Updates {
    const { verdict } = run;
    const latest = this.#latest.values;
    if (latest.length > this.#updates.indexes.length) this.#updates = newUpdates(2 * latest.length);
    const updates = this.#updates;
    updates.heartbeat = NONE;
    let count = 0;
    for (const index of latest) {
      const typeIndex = run.typeIndex(index);
      const isHeartbeat = this.#isHeartbeat[typeIndex] === 1;
      if (isHeartbeat) updates.heartbeat = index;
      const job = run.job(index);
      if (job === NONE) continue;
      updates.indexes[count] = index;
      updates.lows[count] = verdict.jobLow(job);
      updates.highs[count] = verdict.jobHigh(job);
      const state = this.#endsJob[typeIndex] === 1 ? JOB_STATE.ENDED : JOB_STATE.OPEN;
      updates.states[count] = isHeartbeat ? JOB_STATE.MENTIONED : state;
      count++;
    }
    updates.count = count;
    return updates;
  }

  /** Finds the last message of each job, and the last heartbeat, in the order of receipt. */
  #findLatest(run: FrameRun): void {
    this.#runs = (this.#runs + 1) | 0;
    this.#latest.clear();
    if (run.isWhole) this.#readLatest(run);
    else this.#searchLatest(run);
    const latest = this.#latest.values;
    if (latest.some((index, at) => at > 0 && index < (latest[at - 1] ?? 0))) this.#sortLatest(run.count);
  }

  /** @param count number of messages of the run */
  #sortLatest(count: number): void {
    const latest = this.#latest.values;
    if (count > latest.length * MESSAGES_PER_SORTED) return void latest.sort();
    if (count > this.#isLatest.length) this.#isLatest = new Uint8Array(2 * count);
    const isLatest = this.#isLatest;
    for (const index of latest) isLatest[index] = 1;
    this.#latest.clear();
    for (let index = 0; index < count; index++) {
      if (isLatest[index] === 0) continue;
      isLatest[index] = 0;
      this.#latest.push(index);
    }
  }

  #readLatest({ verdict, index, first }: FrameRun): void {
    const end = verdict.jobsEnd(index);
    for (let job = verdict.firstJob(index); job < end; job++) {
      const frame = verdict.latestFrame(job);
      if (frame !== NO_FRAME) this.#latest.push(frame - first);
    }
  }

  /** For a part of a run, whose other messages are not forwarded. */
  #searchLatest(run: FrameRun): void {
    const seen = new Set<number>();
    for (let at = run.count - 1; at >= 0; at--) {
      const job = this.#isHeartbeat[run.typeIndex(at)] === 1 ? HEARTBEAT : run.job(at);
      if (job === -1 || seen.has(job)) continue;
      seen.add(job);
      this.#latest.push(at);
    }
  }

  #keepHeartbeat(run: FrameRun, index: number, lastValues: LastValues): void {
    const { id, crawlerId } = run.sender;
    const { low, high } = jobKey(crawlerId ?? id, this.#crawlerSeed);
    lastValues.set(low | 0, high | 0, run, index);
  }
}

function newUpdates(capacity: number): Updates {
  return {
    indexes: new Uint32Array(capacity),
    lows: new Int32Array(capacity),
    highs: new Int32Array(capacity),
    states: new Uint8Array(capacity),
    count: 0,
    heartbeat: NONE,
  };
}
