// Records what the forwarded messages of crawlers say about jobs: who owns each, whether it has ended, and its latest
// message. Visits the messages of a run once, from the last one, and does the work for the last message of each job only.

import type { FrameRun } from '../delivery/frame-run.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { jobIdIn } from './job-id.js';
import type { CrawlerIdentity, JobOwners } from './job-owners.js';
import type { LastValues } from './last-values.js';

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
  /** The number of the latest run that contains the job, by its index in the verdict. */
  #seenIn = new Uint32Array(1024);
  #runs = 0;
  /** Messages of the current run to record, the last one first. Beyond `#count`, those of an earlier run. */
  readonly #latest: number[] = [];
  #count = 0;

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
    for (let at = this.#count - 1; at >= 0; at--) {
      const index = this.#latest[at] ?? 0;
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

  /** Finds the last message of each job, and the last heartbeat. */
  #findLatest(run: FrameRun): void {
    this.#count = 0;
    this.#runs = (this.#runs + 1) >>> 0;
    let hasHeartbeat = false;
    for (let index = run.count - 1; index >= 0; index--) {
      const job = run.job(index);
      if (this.#isHeartbeat[run.typeIndex(index)] === 1) {
        if (!hasHeartbeat) this.#latest[this.#count++] = index;
        hasHeartbeat = true;
      } else if (job !== -1 && this.#seenIn[job] !== this.#runs) {
        if (job >= this.#seenIn.length) this.#growTo(job);
        this.#seenIn[job] = this.#runs;
        this.#latest[this.#count++] = index;
      }
    }
  }

  #keepHeartbeat(run: FrameRun, index: number): void {
    if (this.#lastValues === undefined) return;
    const { id, crawlerId } = run.source;
    const { low, high } = jobKey(crawlerId ?? id, this.#crawlerSeed);
    this.#lastValues.set(low | 0, high | 0, run, index);
  }

  #growTo(job: number): void {
    const grown = new Uint32Array(2 * job);
    grown.set(this.#seenIn);
    this.#seenIn = grown;
  }
}
