// Validates a batch: runs the parser over each range and writes the verdict. Keeps no reference to the batch afterwards.

import { crc32 } from 'node:zlib';
import {
  type BatchTask,
  type MessageAddress,
  NO_HEARTBEAT,
  type ParserSettings,
  RANGE_FIELDS,
  RunKind,
  SLOW_MESSAGE,
  type Verdict,
} from '../dispatch/verdict.js';
import { VerdictWriter } from '../dispatch/verdict-writer.js';
import type { WireErrorCode } from '../errors.js';
import { valueAt } from '../messages/field-paths.js';
import { NO_JOB } from '../messages/job-key.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import { assignedJobIds } from '../messages/message-traits.js';
import { MAX_CONTROL_BYTES } from '../messages/messages.js';
import { RESERVED_TYPES } from '../messages/type-patterns.js';
import type { Matches } from '../pattern/matches.js';
import type { Projection } from '../pattern/projection.js';
import { VerdictTables } from '../pattern/verdict-tables.js';
import type { FrameSink } from '../protocol/frame-sink.js';
import type { MessageParser } from '../protocol/message-parser.js';
import { type Rejection, reject } from '../protocol/message-validator.js';
import { DriftDetector } from './drift-detector.js';

/** The largest `activeJobs` that a verdict can represent: larger numbers are clamped. */
const MAX_ACTIVE_JOBS = NO_HEARTBEAT - 1;
const NO_BYTES = Buffer.alloc(0);
/** Codes of rejections that `validation: "report"` turns into reports. */
const REPORTABLE: ReadonlySet<WireErrorCode> = new Set([
  'SCHEMA_VIOLATION',
  'RULE_VIOLATION',
  'UNKNOWN_TYPE',
]);

export interface BatchOptions extends Partial<Pick<ParserSettings, 'validation' | 'checksums'>> {
  /** The fields to deliver: those of the parser's patterns, if it has patterns. Default: none. */
  readonly projection?: Projection | undefined;
  /** Called at the start of each range, and for each message that may take long. */
  readonly onProgress?: (range: number, start: number, end: number) => void;
}

export class BatchValidator implements FrameSink {
  readonly #parser: MessageParser;
  readonly #delimiter: number;
  readonly #onProgress: (range: number, start: number, end: number) => void;
  readonly #verdict: VerdictWriter;
  readonly #registry: MessageRegistry;
  readonly #isReporting: boolean;
  readonly #projection: Projection | undefined;
  readonly #hasChecksums: boolean;
  readonly #drift = new DriftDetector();
  /** Number of rejected messages in the current range. */
  #rejected = 0;
  #maxDetailedRejections = 0;
  /**
   * Time at which the latest message of the range for which user code may run was reached, in ms of the monotonic clock;
   * 0 if none was.
   */
  #reachedAt = 0;
  /** The counters of the patterns as of the latest verdict. */
  #layoutsLearned = 0;
  #layoutsEvicted = 0;
  #bytes: Buffer = NO_BYTES;
  #rangeEnd = 0;
  #activeJobs = NO_HEARTBEAT;

  constructor(parser: MessageParser, delimiter: number, options: BatchOptions = {}) {
    const { validation = 'enforce', checksums = false, projection, onProgress = () => {} } = options;
    this.#projection = projection;
    this.#hasChecksums = checksums;
    this.#isReporting = validation === 'report';
    this.#onProgress = onProgress;
    this.#parser = parser;
    this.#delimiter = delimiter;
    this.#registry = parser.validator.registry;
    const { types } = this.#registry;
    this.#verdict = new VerdictWriter(
      parser.patterns?.tables ?? new VerdictTables(types),
      projection?.maxSpans,
    );
  }

  /** Validates every message of a batch. */
  validate(task: BatchTask): Verdict {
    const startedAt = performance.now();
    this.#validateRanges(task, (bytes, start, end) => this.#parser.parse(bytes, start, end, this));
    return this.#takeVerdict(startedAt);
  }

  /** Validates a batch by patterns alone. Returns `undefined` if any of it matches no pattern. */
  validateByPatterns(task: BatchTask): Verdict | undefined {
    const startedAt = performance.now();
    const isDone = this.#validateRanges(task, (bytes, start, end) =>
      this.#parser.parseByPatterns(bytes, start, end, this),
    );
    return isDone ? this.#takeVerdict(startedAt) : undefined;
  }

  onMessage(type: MessageType, value: object, start: number, end: number, line: number): void {
    for (const fact of this.#drift.unknownKeysOf(type, value)) this.#verdict.addDrift(fact);
    if (type.direction === 'control' && end - start > MAX_CONTROL_BYTES) {
      return this.onRejection(reject('MESSAGE_TOO_LARGE', type.name), start, end, line);
    }
    this.#acceptMessage(type, value, start, end);
    this.#verdict.addValues(this.#fieldsOf(type, value, end - start));
  }

  /** Adds a message without its fields. */
  #acceptMessage(type: MessageType, value: object, start: number, end: number): void {
    const { index, direction, traits } = type;
    if (direction === 'app') {
      const address = this.#verdict.addAddress(this.#addressOf(type, value));
      return this.#verdict.acceptOther(index, RunKind.ADDRESSED, address, start, end);
    }
    if (direction === 'control') return this.#verdict.acceptOther(index, RunKind.CONTROL, 0, start, end);
    if (traits.reportsWorkload) this.#activeJobs = activeJobsOf(value) ?? this.#activeJobs;
    const isDelimited = end < this.#rangeEnd && this.#bytes[end] === this.#delimiter;
    const kind = isDelimited ? RunKind.DELIMITED : RunKind.UNDELIMITED;
    const job = this.#parser.jobOf(value);
    this.#verdict.accept(index, traits.requestsJob ? RunKind.REQUEST : kind, job, start, end);
  }

  onMatches(matches: Matches): void {
    this.#verdict.addMatches(matches);
    const activeJobs = matches.takeActiveJobs();
    if (activeJobs !== NO_HEARTBEAT) this.#activeJobs = activeJobs;
  }

  /** The values of the fields to deliver; `undefined` if there are none, or they are large. @param size in bytes */
  #fieldsOf({ index }: MessageType, message: object, size: number): unknown[] | undefined {
    const fields = this.#projection?.types[index]?.fields;
    if (fields === undefined) return undefined;
    const values = fields.map(({ segments }) => valueAt(message, segments));
    // Fields may overlap, so that their values may be larger than the message.
    const isSmall =
      size * fields.length <= MAX_VALUES_SIZE || sizeUpTo(values, MAX_VALUES_SIZE) <= MAX_VALUES_SIZE;
    return isSmall ? values : undefined;
  }

  onUserCode(start: number, end: number): void {
    const now = performance.now();
    this.#recordIfSlow(now);
    this.#reachedAt = now;
    this.#onProgress(this.#verdict.range, start, end);
  }

  onLongBlock(start: number, end: number): void {
    this.#recordIfSlow(performance.now());
    // Patterns do not make a connection slow.
    this.#reachedAt = 0;
    this.#onProgress(this.#verdict.range, start, end);
  }

  #recordIfSlow(now: number): void {
    if (this.#reachedAt !== 0 && now - this.#reachedAt > SLOW_MESSAGE) this.#verdict.markSlow();
  }

  get wantsIssues(): boolean {
    return this.#rejected < this.#maxDetailedRejections;
  }

  onMismatch({ name }: MessageType): void {
    this.#verdict.addMismatch(name);
  }

  onRejection(rejection: Rejection, start: number, end: number, line: number, value?: unknown): void {
    const unknownType = this.#unknownTypeOf(rejection, value);
    if (unknownType !== undefined) {
      for (const fact of this.#drift.factsOfUnknownType(unknownType)) this.#verdict.addDrift(fact);
    } else if (rejection.issues.length > 0) {
      const known = this.#registry.get(rejection.type ?? '');
      const facts = known === undefined ? [] : this.#drift.factsOfRejected(known, value, rejection.issues);
      for (const fact of facts) this.#verdict.addDrift(fact);
    }
    const type = this.#typeToForward(rejection, unknownType);
    if (type === undefined) this.#verdict.reject(rejection, start, end, line);
    else {
      this.#verdict.report({ ...rejection, unknownType }, start, end, line);
      this.#acceptMessage(type, value as object, start, end);
      this.#verdict.addValues(undefined);
    }
    this.#rejected++;
  }

  /** The name of a message's type, if there is no such type. */
  #unknownTypeOf({ code }: Rejection, value: unknown): string | undefined {
    if (code !== 'UNKNOWN_TYPE') return undefined;
    const name = (value as { readonly type: string }).type;
    // A type that only the broker may send is rejected with the same code.
    if (this.#registry.get(name) !== undefined || RESERVED_TYPES.has(name)) return undefined;
    return name.slice(0, MAX_NAME_LENGTH);
  }

  /** The type as which a message that breaks the contract is forwarded; `undefined` if it is rejected. */
  #typeToForward({ code, type: name }: Rejection, unknownType: string | undefined): MessageType | undefined {
    if (!this.#isReporting || !REPORTABLE.has(code)) return undefined;
    if (unknownType !== undefined) return this.#registry.types[0];
    const type = name === undefined ? undefined : this.#registry.get(name);
    return type?.direction === 'crawler' || type?.direction === 'app' ? type : undefined;
  }

  /**
   * @param parse returns the number of delimiters in a range; if it returns `undefined`, validation stops with false
   */
  #validateRanges(
    { arenas, ranges, maxDetailedRejections }: BatchTask,
    parse: (bytes: Buffer, start: number, end: number) => number | undefined,
  ): boolean {
    this.#verdict.reset();
    this.#maxDetailedRejections = maxDetailedRejections;
    const buffers = arenas.map((memory) => Buffer.from(memory));
    for (let at = 0; at < ranges.length; at += RANGE_FIELDS) {
      const end = ranges[at + 2] ?? 0;
      this.#bytes = buffers[ranges[at] ?? 0] as Buffer;
      this.#rangeEnd = end;
      this.#activeJobs = NO_HEARTBEAT;
      this.#rejected = 0;
      this.#drift.reset();
      this.#reachedAt = 0;
      this.#onProgress(this.#verdict.range, 0, 0);
      const scan = this.#parser.patterns?.scans ?? 0;
      const lines = parse(this.#bytes, ranges[at + 1] ?? 0, end);
      if (lines === undefined) return false;
      if (this.#reachedAt !== 0) this.#recordIfSlow(performance.now());
      this.#recordDriftSince(scan);
      const checksum = this.#hasChecksums ? crc32(this.#bytes.subarray(ranges[at + 1] ?? 0, end)) : 0;
      this.#verdict.endRange(lines, this.#activeJobs, checksum);
    }
    return true;
  }

  /** Records the extra keys of messages that patterns have matched. @param scan number of the last scan before them */
  #recordDriftSince(scan: number): void {
    const { patterns } = this.#parser;
    if (patterns === undefined || patterns.layoutsLearned === 0) return;
    for (const fact of this.#drift.sampleMatches(patterns, this.#registry.types, scan))
      this.#verdict.addDrift(fact);
  }

  #addressOf({ traits }: MessageType, message: AppEnvelope): MessageAddress {
    const { to, data } = message;
    const named = traits.namesJob ? data?.job_id : undefined;
    const job = this.#parser.jobOf(typeof named === 'string' ? { jobId: named } : message);
    return {
      to: recipientOf(to),
      job: job === NO_JOB ? undefined : job,
      assigned: assignedJobIds(traits, message).map((jobId) => ({
        ...this.#parser.jobOf({ jobId }),
        id: jobId.slice(0, MAX_NAME_LENGTH + 1),
      })),
    };
  }

  /** @param startedAt in ms of the monotonic clock */
  #takeVerdict(startedAt: number): Verdict {
    const { layoutsLearned = 0, layoutsEvicted = 0 } = this.#parser.patterns ?? {};
    const verdict = this.#verdict.finish(
      layoutsLearned - this.#layoutsLearned,
      layoutsEvicted - this.#layoutsEvicted,
      performance.now() - startedAt,
    );
    this.#layoutsLearned = layoutsLearned;
    this.#layoutsEvicted = layoutsEvicted;
    this.#bytes = NO_BYTES;
    return verdict;
  }
}

/** The largest size of the fields of a message that are delivered as values: they are copied on both threads. */
const MAX_VALUES_SIZE = 64 * 1024;
/** Approximate size of a value that is not a string, in characters of JSON. */
const SCALAR_SIZE = 8;

/** The approximate size of a value in characters of JSON, not counted beyond the limit. */
function sizeUpTo(value: unknown, limit: number): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return SCALAR_SIZE;
  let size = 0;
  if (Array.isArray(value)) {
    for (const item of value as readonly unknown[]) {
      size += 1 + sizeUpTo(item, limit - size);
      if (size > limit) break;
    }
    return size;
  }
  for (const [key, member] of Object.entries(value)) {
    size += key.length + sizeUpTo(member, limit - size);
    if (size > limit) break;
  }
  return size;
}

/**
 * `activeJobs` of a heartbeat, converted as by the patterns: truncated to an integer and clamped to the valid range.
 */
function activeJobsOf(heartbeat: { data?: { activeJobs?: unknown } }): number | undefined {
  const activeJobs = heartbeat.data?.activeJobs;
  if (typeof activeJobs !== 'number') return undefined;
  return Math.min(Math.max(0, Math.trunc(activeJobs)), MAX_ACTIVE_JOBS);
}

/** The longest id of a crawler or connection: longer names in `to` match nothing. */
const MAX_NAME_LENGTH = 256;

/** The name in `to`. If that is something else, as may be with `validation: "report"`, the message is for nobody. */
function recipientOf(to: unknown): string | undefined {
  if (to === undefined || to === null) return undefined;
  return typeof to === 'string' ? to.slice(0, MAX_NAME_LENGTH + 1) : '';
}

/** The parts of an application's message that determine its recipients. */
interface AppEnvelope {
  readonly to?: unknown;
  readonly jobId?: unknown;
  readonly job_id?: unknown;
  readonly data?: { readonly job_id?: unknown };
}
