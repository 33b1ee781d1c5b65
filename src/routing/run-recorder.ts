// Records what the forwarded messages of crawlers say about jobs: who owns each, whether it has ended, and its latest
// message. Looks only at the last message of a run about each job, which the worker has found.

import type { FrameRun } from '../delivery/frame-run.js';
import { NO_FRAME } from '../dispatch/verdict.js';
import { NumberList } from '../memory/number-list.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { jobIdIn } from './job-id.js';
import type { CrawlerIdentity, JobOwners } from './job-owners.js';
import type { LastValues } from './last-values.js';

/** Stands for the heartbeats of a run. */
const HEARTBEAT = -2;

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
  /** Number of the current run. */
  #runs = 0;
  /** Indexes of the messages of the current run to record. */
  readonly #latest = new NumberList();

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
   * @param sender the crawler that sent the messages. If `undefined`, no owners are recorded.
   */
  record(run: FrameRun, sender: CrawlerIdentity | undefined): void {
    this.#findLatest(run);
    const { verdict } = run;
    const runs = this.#runs;
    const lastValues =
      this.#lastValues?.hasTime(run.chunk.receivedAt) === true ? this.#lastValues : undefined;
    for (const index of this.#latest.values) {
      const typeIndex = run.typeIndex(index);
      const isHeartbeat = this.#isHeartbeat[typeIndex] === 1;
      if (isHeartbeat) this.#keepHeartbeat(run, index);
      const job = run.job(index);
      if (job === -1) continue;
      // Signed, since V8 passes small signed integers without an object.
      const low = verdict.jobLow(job) | 0;
      const high = verdict.jobHigh(job) | 0;
      const hasEnded = this.#endsJob[typeIndex] === 1;
      // A message without an owner has to take the place of an earlier one in any case.
      const values = sender === undefined ? this.#lastValues : lastValues;
      // A heartbeat is no message about the job.
      const number = isHeartbeat ? undefined : runs;
      if (sender !== undefined && this.#owners.set(low, high, sender, hasEnded, number))
        this.#owners.setId(jobIdIn(run.message(index), low, high, this.#jobSeed));
      if (!isHeartbeat) values?.set(low, high, run, index, sender === undefined ? undefined : runs);
    }
  }

  /** Finds the last message of each job, and the last heartbeat, in the order of receipt. */
  #findLatest(run: FrameRun): void {
    this.#runs = (this.#runs + 1) >>> 0;
    this.#latest.clear();
    if (run.isWhole) this.#readLatest(run);
    else this.#searchLatest(run);
    const latest = this.#latest.values;
    if (latest.some((index, at) => at > 0 && index < (latest[at - 1] ?? 0))) latest.sort();
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

  #keepHeartbeat(run: FrameRun, index: number): void {
    if (this.#lastValues === undefined) return;
    const { id, crawlerId } = run.source;
    const { low, high } = jobKey(crawlerId ?? id, this.#crawlerSeed);
    this.#lastValues.set(low | 0, high | 0, run, index);
  }
}
