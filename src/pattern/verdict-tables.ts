// The tables of a verdict: messages, runs and jobs. The scan loop writes them for the messages that patterns match (see
// scan-loop.ts), this class for all others, both in the same memory, so that a run may contain messages of both kinds.

import { NumberList } from '../memory/number-list.js';
import { type JobKey, NO_JOB } from '../messages/job-key.js';
import type { MessageType } from '../messages/message-registry.js';
import {
  JOB_SLOTS,
  MAX_MATCHES,
  MEANING,
  NO_HEARTBEAT,
  NO_RUN,
  SLOT,
  type TableMap,
  tableMap,
} from './memory-layout.js';
import { FRAME, JOB, NO_FRAME, RUN, RunKind } from './verdict-layout.js';

const WORD = Uint32Array.BYTES_PER_ELEMENT;

export class VerdictTables {
  /** Number of message types. */
  readonly #types: number;
  readonly #map: TableMap;
  #words: Uint32Array;
  /** The messages and runs so far, and the jobs that were removed from the memory. */
  readonly #frames = new NumberList();
  readonly #runs = new NumberList();
  readonly #jobs = new NumberList();
  /** Rows in the table of jobs before the latest scan. */
  #jobsBeforeScan = 0;

  /**
   * @param types the types of the registry
   * @param map where the tables are in the memory. Default: a memory that only contains the tables.
   * @param words the memory
   */
  constructor(
    types: readonly Pick<MessageType, 'traits'>[],
    map: TableMap = tableMap(types.length),
    words: Uint32Array = new Uint32Array(map.end / WORD),
  ) {
    this.#types = types.length;
    this.#map = map;
    this.#words = words;
    types.forEach(({ traits }, index) => {
      const meaning = traits.reportsWorkload
        ? MEANING.HEARTBEAT
        : traits.requestsJob
          ? MEANING.JOB_REQUEST
          : MEANING.NONE;
      this.#words[map.meanings / WORD + index] = meaning;
    });
    this.reset();
  }

  /** Sets the memory. It changes when it grows, with the same content. */
  attach(words: Uint32Array): void {
    this.#words = words;
  }

  /** Starts a new verdict. */
  reset(): void {
    this.#frames.clear();
    this.#runs.clear();
    this.#jobs.clear();
    for (const slot of [SLOT.FRAMES, SLOT.JOBS, SLOT.JOBS_BEFORE, SLOT.RUN_JOBS, SLOT.RUNS])
      this.#set(slot, 0);
    this.closeRun();
    this.#words.fill(0, this.#acceptedAt, this.#acceptedAt + this.#types);
  }

  /** Number of messages. */
  get count(): number {
    return this.#get(SLOT.FRAMES);
  }

  get runCount(): number {
    return this.#runs.length / RUN.SIZE;
  }

  get frames(): Uint32Array {
    return this.#frames.values;
  }

  get runs(): Uint32Array {
    return this.#runs.values;
  }

  /** The jobs, run by run. */
  get jobs(): Uint32Array {
    this.#removeJobs();
    return this.#jobs.values;
  }

  /** Accepted messages by type index, until the next change. */
  get accepted(): Uint32Array {
    return this.#words.subarray(this.#acceptedAt, this.#acceptedAt + this.#types);
  }

  /**
   * Adds a message that no pattern has matched.
   * @param kind one of `RunKind`
   * @param third its type index, or its line if it is rejected
   * @param payload the last field of its {@link FRAME}
   */
  add(kind: number, start: number, end: number, third: number, payload: number): void {
    this.#extendRun(kind, start, end);
    this.#addFrame(start, end, third, payload);
  }

  /**
   * Adds an accepted message of a crawler that no pattern has matched.
   * @param kind one of `RunKind`
   * @param job the key of its job; `NO_JOB` if it has none
   */
  addOfCrawler(typeIndex: number, kind: number, { low, high }: JobKey, start: number, end: number): void {
    this.#extendRun(kind, start, end);
    this.#makeRoom();
    const isHeartbeat = this.#words[this.#map.meanings / WORD + typeIndex] === MEANING.HEARTBEAT;
    let job = 0;
    if (high !== 0) {
      const row = this.#jobRow(low, high);
      if (!isHeartbeat) this.#setLatest(row);
      job = this.#get(SLOT.JOBS_BEFORE) + row + 1;
    }
    if (isHeartbeat) this.#setLatest(this.#jobRow(NO_JOB.low, NO_JOB.high));
    this.#addFrame(start, end, typeIndex, job);
  }

  #addFrame(start: number, end: number, third: number, payload: number): void {
    this.#frames.push4(start, end, third, payload);
    this.#set(SLOT.FRAMES, this.count + 1);
  }

  countAccepted(typeIndex: number, count = 1): void {
    const at = this.#acceptedAt + typeIndex;
    this.#words[at] = (this.#words[at] ?? 0) + count;
  }

  /** Ends the current run: the next message begins another one. */
  closeRun(): void {
    this.#set(SLOT.RUN_KIND, NO_RUN);
  }

  /** Must be called before each scan. */
  prepareScan(): void {
    this.#makeRoom();
    this.#jobsBeforeScan = this.#get(SLOT.JOBS);
  }

  #makeRoom(): void {
    if (this.#get(SLOT.JOBS) > MAX_MATCHES) this.#removeJobs();
  }

  /** Adds the messages of the latest scan. */
  addScan(): void {
    const [frames, runs] = [this.#map.frames / WORD, this.#map.runs / WORD];
    this.#frames.append(this.#words, frames, frames + this.#get(SLOT.MATCHES) * FRAME.SIZE);
    this.#runs.append(this.#words, runs, runs + this.#get(SLOT.RUNS) * RUN.SIZE);
  }

  /** Discards the messages of the latest scan, instead of adding them. No run may have been open before it. */
  discardScan(): void {
    const matches = this.#get(SLOT.MATCHES);
    const frames = this.#map.frames / WORD;
    for (let at = frames; at < frames + matches * FRAME.SIZE; at += FRAME.SIZE)
      this.countAccepted(this.#words[at + FRAME.TYPE] ?? 0, -1);
    this.#set(SLOT.FRAMES, this.count - matches);
    this.#set(SLOT.JOBS, this.#jobsBeforeScan);
    this.#set(SLOT.ACTIVE_JOBS, NO_HEARTBEAT);
    this.closeRun();
  }

  /** Adjacent delimited messages, undelimited messages and rejected messages share a run; others get their own. */
  #extendRun(kind: number, start: number, end: number): void {
    const joins =
      kind === this.#get(SLOT.RUN_KIND) &&
      (kind === RunKind.UNDELIMITED ||
        kind === RunKind.REJECTED ||
        (kind === RunKind.DELIMITED && start === this.#get(SLOT.RUN_END) + 1));
    if (!joins) {
      const jobs = this.#get(SLOT.JOBS);
      this.#runs.push3(this.count, kind, this.#get(SLOT.JOBS_BEFORE) + jobs);
      this.#set(SLOT.RUN_JOBS, jobs);
      this.#set(SLOT.RUN_KIND, kind);
    }
    this.#set(SLOT.RUN_END, end);
  }

  /** The row of a job of the current run in the memory. Adds the job if necessary. */
  #jobRow(low: number, high: number): number {
    const slot = this.#map.jobSlots / WORD + (low % JOB_SLOTS);
    const row = this.#words[slot] ?? 0;
    const count = this.#get(SLOT.JOBS);
    const at = this.#jobAt(row);
    const isFound =
      row >= this.#get(SLOT.RUN_JOBS) &&
      row < count &&
      this.#words[at + JOB.LOW] === low &&
      this.#words[at + JOB.HIGH] === high;
    if (isFound) return row;
    this.#words.set([low, high, NO_FRAME], this.#jobAt(count));
    this.#words[slot] = count;
    this.#set(SLOT.JOBS, count + 1);
    return count;
  }

  /** The next message is the last one about a job of the current run so far. */
  #setLatest(row: number): void {
    this.#words[this.#jobAt(row) + JOB.LATEST] = this.count;
  }

  /** Moves the jobs out of the memory. Jobs of the current run that are mentioned again get another row. */
  #removeJobs(): void {
    const count = this.#get(SLOT.JOBS);
    this.#jobs.append(this.#words, this.#jobAt(0), this.#jobAt(count));
    this.#set(SLOT.JOBS_BEFORE, this.#get(SLOT.JOBS_BEFORE) + count);
    this.#set(SLOT.JOBS, 0);
    this.#set(SLOT.RUN_JOBS, 0);
  }

  #get(slot: number): number {
    return this.#words[slot / WORD] ?? 0;
  }

  #set(slot: number, value: number): void {
    this.#words[slot / WORD] = value;
  }

  get #acceptedAt(): number {
    return this.#map.accepted / WORD;
  }

  #jobAt(row: number): number {
    return this.#map.jobs / WORD + row * JOB.SIZE;
  }
}
