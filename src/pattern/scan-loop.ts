// The scan loop, as WebAssembly: matches one message after another until no pattern matches, and writes the tables of the
// verdict as VerdictTables does for other messages. The pseudo-code above each function is C; its capitalized variables
// are slots in memory (SLOT in memory-layout.ts).

import { JOB_HASH, type JobSeed } from '../messages/job-key.js';
import type { Framing } from '../wire/framing.js';
import {
  BUCKETS,
  ENTRY,
  JOB_SLOTS,
  MAX_MATCHES,
  MEANING,
  type MemoryMap,
  NO_HEARTBEAT,
  SLOT,
  SPAN,
  STOP,
} from './memory-layout.js';
import { FRAME, JOB, NO_FRAME, RUN, RunKind } from './verdict-layout.js';
import { type Code, call, callIndirect, drop, getLocal, i32, select } from './wasm/expressions.js';
import { advance, type FunctionWriter } from './wasm/function-writer.js';
import { ModuleWriter } from './wasm/module-writer.js';

export interface ScanLoopSettings {
  readonly framing: Framing;
  /** The byte that ends a message. */
  readonly delimiter: number;
  /** Maximum message size in bytes. */
  readonly maxMessageSize: number;
  /** Offset in a type's name of the character that best distinguishes the types. */
  readonly keyOffset: number;
  /** Seed of the job id hash. */
  readonly jobSeed: JobSeed;
  /** Number of spans of each match. */
  readonly maxSpans: number;
}

/** Text before the type's name if the type is the first key, as `JSON.stringify` and Python's `json.dumps` write it. */
export const COMPACT_HEAD = '{"type":';
export const SPACED_HEAD = '{"type": ';
/** Offset of the `y` in both heads, which distinguishes them from most other first keys. */
const Y_OFFSET = 3;
const Y = 0x79;
const QUOTE_LENGTH = 1;
const [QUOTE, SPACE, CARRIAGE_RETURN] = [0x22, 0x20, 0x0d];

const WORD = 4;

const NOTHING = i32.const(0);
const ONE = i32.const(1);
const noHeartbeat = i32.const(NO_HEARTBEAT);
const slot = (offset: number): Code => i32.load(NOTHING, offset);
const setSlot = (offset: number, value: Code): Code => i32.store(NOTHING, value, offset);

/** Generates the module. It imports `env.memory`, `env.table` and `env.accepts`, and exports `scan`. */
export function generateScanLoop(map: MemoryMap, settings: ScanLoopSettings): ModuleWriter {
  const module = new ModuleWriter('scan-loop');
  module.importTable();
  const accepts = module.importFunction('accepts', 3);
  const hash = addHash(module, settings.jobSeed);
  const jobRow = addJobRow(module, map);
  const matchType = module.typeOf(1);
  module.export(
    module.add('scan', ['at', 'end'], (writer) =>
      writeScan(writer, map, settings, { matchType, accepts, hash, jobRow }),
    ),
  );
  return module;
}

/** Indexes of the functions that the loop calls, and of the type of those in the table. */
interface Callees {
  readonly matchType: number;
  readonly accepts: number;
  readonly hash: number;
  readonly jobRow: number;
}

/**
 * Scans messages from `at` to the end of the text. Returns the address of the first message that did not match.
 *
 *     scan(at, end) {
 *       HEARTBEAT = NO_HEARTBEAT, RUNS = 0, CHECKS = 0;
 *       matches = 0, lines = 0, reason = UNKNOWN;
 *       while (at < end) {
 *         if (matches == MAX_MATCHES) { reason = FULL; break; }
 *         SPANS = &spans[matches * maxSpans];              // only if there are any; the pattern writes them
 *         first = entry = findList(at);
 *       tryNext:
 *         if (entry->function == 0) {
 *           if (first == buckets[OTHERS]) break;                         // no pattern matches
 *           first = entry = buckets[OTHERS];
 *           goto tryNext;
 *         }
 *         if ((matchEnd = table[entry->function](at)) == 0) { entry++; goto tryNext; }
 *         if (matchEnd - at > maxMessageSize) break;
 *         next = matchEnd;
 *         if (matchEnd < end) {
 *           if (matchEnd[0] == delimiter) next += 1;
 *           else if (matchEnd[0] == '\r' && matchEnd[1] == delimiter && matchEnd + 1 < end) next += 2;
 *           else if (framing == ndjson) break;
 *         }
 *         if (CHECKS != 0) {                                           // the pattern has listed values to check
 *           isAccepted = accepts(entry->type, at, matchEnd);
 *           CHECKS = 0;
 *           if (!isAccepted) break;
 *         }
 *         frame = &frames[matches];
 *         *frame = { at - SHIFT, matchEnd - SHIFT, entry->type, 0 };
 *         meaning = meanings[entry->type];
 *         addToRun(frame, next == matchEnd + 1);
 *         if (JOB_START != 0) {
 *           hash(JOB_START, JOB_LENGTH);
 *           row = jobRow(JOB_LOW, JOB_HIGH);
 *           if (meaning != HEARTBEAT) jobs[row].latest = FRAMES + matches;
 *           frame->job = JOBS_BEFORE + row + 1;
 *         }
 *         if (meaning == HEARTBEAT) jobs[jobRow(0, 0)].latest = FRAMES + matches;
 *         accepted[entry->type]++;
 *         entry->lastScan = LAST_SCAN;
 *         if (entry != first) moveForward(entry);
 *         if (HEARTBEAT != NO_HEARTBEAT) { ACTIVE_JOBS = HEARTBEAT; HEARTBEAT = NO_HEARTBEAT; }
 *         matches++;
 *         if (next != matchEnd) lines++;
 *         at = next;
 *       }
 *       MATCHES = matches, LINES = lines, STOP = reason, FRAMES += matches;
 *       return at;
 *     }
 */
function writeScan(
  writer: FunctionWriter,
  map: MemoryMap,
  { framing, delimiter, maxMessageSize, keyOffset, maxSpans }: ScanLoopSettings,
  { matchType, accepts, hash, jobRow }: Callees,
): Code {
  const [AT, END] = [0, 1];
  const [first, entry] = [writer.local('first'), writer.local('entry')];
  const [MATCH_END, next] = [writer.local('matchEnd'), writer.local('next')];
  const [matches, lines, reason] = [writer.local('matches'), writer.local('lines'), writer.local('reason')];
  const [type, meaning] = [writer.local('type'), writer.local('meaning')];
  const [frame, row, isAccepted] = [writer.local('frame'), writer.local('row'), writer.local('isAccepted')];
  const at = getLocal(AT);
  const end = getLocal(END);
  const matchEnd = getLocal(MATCH_END);
  const isDelimiter = (offset: number) => i32.eq(i32.load8_u(matchEnd, offset), i32.const(delimiter));

  writer.emit(setSlot(SLOT.HEARTBEAT, noHeartbeat));
  writer.emit(setSlot(SLOT.RUNS, NOTHING));
  writer.emit(setSlot(SLOT.CHECKS, NOTHING));
  writer.block((exit) => {
    writer.loop((again) => {
      writer.branchIf(exit, i32.ge_u(at, end));
      writer.if(i32.eq(getLocal(matches), i32.const(MAX_MATCHES)), () => {
        writer.set(reason, i32.const(STOP.FULL));
        writer.branch(exit);
      });
      if (maxSpans > 0) {
        const offset = i32.mul(getLocal(matches), i32.const(maxSpans * SPAN.SIZE * 4));
        writer.emit(setSlot(SLOT.SPANS, i32.add(i32.const(map.spans), offset)));
      }
      const others = i32.load(NOTHING, map.buckets + BUCKETS.OTHERS * WORD);
      findList(writer, first, map.buckets, keyOffset);
      writer.set(entry, getLocal(first));
      writer.block((found) => {
        writer.loop((tryNext) => {
          writer.if(i32.eqz(i32.load(getLocal(entry), ENTRY.FUNCTION)), () => {
            writer.branchIf(exit, i32.eq(getLocal(first), others));
            writer.set(first, others);
            writer.set(entry, others);
            writer.branch(tryNext);
          });
          writer.set(MATCH_END, callIndirect(matchType, i32.load(getLocal(entry), ENTRY.FUNCTION), at));
          writer.branchIf(found, matchEnd);
          advance(writer, entry, i32.const(ENTRY.SIZE));
          writer.branch(tryNext);
        });
      });
      writer.branchIf(exit, i32.gt_u(i32.sub(matchEnd, at), i32.const(maxMessageSize)));
      writer.set(next, matchEnd);
      writer.block((delimited) => {
        writer.branchIf(delimited, i32.ge_u(matchEnd, end));
        const skipDelimiter = (length: number) => {
          advance(writer, next, i32.const(length));
          writer.branch(delimited);
        };
        writer.if(isDelimiter(0), () => skipDelimiter(1));
        const isReturn = i32.eq(i32.load8_u(matchEnd), i32.const(CARRIAGE_RETURN));
        writer.if(i32.and(isReturn, i32.and(isDelimiter(1), i32.lt_u(i32.add(matchEnd, ONE), end))), () =>
          skipDelimiter(2),
        );
        if (framing === 'ndjson') writer.branch(exit);
      });
      writer.set(type, i32.load(getLocal(entry), ENTRY.TYPE));
      writer.if(slot(SLOT.CHECKS), () => {
        writer.set(isAccepted, call(accepts, getLocal(type), at, matchEnd));
        writer.emit(setSlot(SLOT.CHECKS, NOTHING));
        writer.branchIf(exit, i32.eqz(getLocal(isAccepted)));
      });
      writer.set(frame, rowAddress(map.frames, getLocal(matches), FRAME.SIZE));
      const setFrame = (field: number, value: Code) =>
        writer.emit(i32.store(getLocal(frame), value, field * WORD));
      setFrame(FRAME.START, i32.sub(at, slot(SLOT.SHIFT)));
      setFrame(FRAME.END, i32.sub(matchEnd, slot(SLOT.SHIFT)));
      setFrame(FRAME.TYPE, getLocal(type));
      setFrame(FRAME.JOB, NOTHING);
      writer.set(meaning, i32.load(rowAddress(map.meanings, getLocal(type), 1)));
      addToRun(writer, map, { frame, meaning, matches }, i32.eq(getLocal(next), i32.add(matchEnd, ONE)));
      const isHeartbeat = i32.eq(getLocal(meaning), i32.const(MEANING.HEARTBEAT));
      const setLatest = () =>
        writer.emit(
          i32.store(
            rowAddress(map.jobs, getLocal(row), JOB.SIZE),
            i32.add(slot(SLOT.FRAMES), getLocal(matches)),
            JOB.LATEST * WORD,
          ),
        );
      writer.if(slot(SLOT.JOB_START), () => {
        writer.emit(drop(call(hash, slot(SLOT.JOB_START), slot(SLOT.JOB_LENGTH))));
        writer.set(row, call(jobRow, slot(SLOT.JOB_LOW), slot(SLOT.JOB_HIGH)));
        writer.if(i32.eqz(isHeartbeat), setLatest);
        setFrame(FRAME.JOB, i32.add(slot(SLOT.JOBS_BEFORE), i32.add(getLocal(row), ONE)));
      });
      writer.if(isHeartbeat, () => {
        writer.set(row, call(jobRow, NOTHING, NOTHING));
        setLatest();
      });
      const accepted = rowAddress(map.accepted, getLocal(type), 1);
      writer.emit(i32.store(accepted, i32.add(i32.load(accepted), ONE)));
      writer.emit(i32.store(getLocal(entry), slot(SLOT.LAST_SCAN), ENTRY.LAST_SCAN));
      writer.if(i32.ne(getLocal(entry), getLocal(first)), () => moveForward(writer, entry));
      writer.if(i32.ne(slot(SLOT.HEARTBEAT), noHeartbeat), () => {
        writer.emit(setSlot(SLOT.ACTIVE_JOBS, slot(SLOT.HEARTBEAT)));
        writer.emit(setSlot(SLOT.HEARTBEAT, noHeartbeat));
      });
      advance(writer, matches, ONE);
      // Counted only here: a message at which the loop stops is scanned again.
      writer.if(i32.ne(getLocal(next), matchEnd), () => advance(writer, lines, ONE));
      writer.set(AT, getLocal(next));
      writer.branch(again);
    });
  });
  writer.emit(setSlot(SLOT.MATCHES, getLocal(matches)));
  writer.emit(setSlot(SLOT.LINES, getLocal(lines)));
  writer.emit(setSlot(SLOT.STOP, getLocal(reason)));
  writer.emit(setSlot(SLOT.FRAMES, i32.add(slot(SLOT.FRAMES), getLocal(matches))));
  return at;
}

/** The address of a row of a table. @param size of a row, in words */
function rowAddress(table: number, row: Code, size: number): Code {
  return i32.add(i32.const(table), i32.mul(row, i32.const(size * WORD)));
}

/**
 * Adds the match to the current run, or begins a run with it. Within a scan, a delimited message always directly follows
 * the one before.
 *
 *     kind = meaning == JOB_REQUEST ? REQUEST : isFollowed ? DELIMITED : UNDELIMITED;
 *     joins = kind == RUN_KIND && (kind == UNDELIMITED || kind == DELIMITED && frame->start == RUN_END + 1);
 *     if (!joins) {
 *       RUN_JOBS = JOBS, RUN_KIND = kind;
 *       runs[RUNS++] = { FRAMES + matches, kind, JOBS_BEFORE + JOBS };
 *     }
 *     RUN_END = frame->end;
 *
 * @param isFollowed whether the delimiter directly follows the message
 */
function addToRun(
  writer: FunctionWriter,
  map: MemoryMap,
  { frame, meaning, matches }: { frame: number; meaning: number; matches: number },
  isFollowed: Code,
): void {
  const [kind, run] = [writer.local('kind'), writer.local('run')];
  const isKind = (value: number) => i32.eq(getLocal(kind), i32.const(value));
  const delimited = select(i32.const(RunKind.DELIMITED), i32.const(RunKind.UNDELIMITED), isFollowed);
  const isRequest = i32.eq(getLocal(meaning), i32.const(MEANING.JOB_REQUEST));
  writer.set(kind, select(i32.const(RunKind.REQUEST), delimited, isRequest));
  const start = i32.load(getLocal(frame), FRAME.START * WORD);
  const isAdjacent = i32.eq(start, i32.add(slot(SLOT.RUN_END), ONE));
  const mayJoin = i32.or(isKind(RunKind.UNDELIMITED), i32.and(isKind(RunKind.DELIMITED), isAdjacent));
  const joins = i32.and(i32.eq(getLocal(kind), slot(SLOT.RUN_KIND)), mayJoin);
  writer.if(i32.eqz(joins), () => {
    writer.set(run, rowAddress(map.runs, slot(SLOT.RUNS), RUN.SIZE));
    const setRun = (field: number, value: Code) => writer.emit(i32.store(getLocal(run), value, field * WORD));
    setRun(RUN.FIRST, i32.add(slot(SLOT.FRAMES), getLocal(matches)));
    setRun(RUN.KIND, getLocal(kind));
    setRun(RUN.FIRST_JOB, i32.add(slot(SLOT.JOBS_BEFORE), slot(SLOT.JOBS)));
    writer.emit(setSlot(SLOT.RUN_JOBS, slot(SLOT.JOBS)));
    writer.emit(setSlot(SLOT.RUN_KIND, getLocal(kind)));
    writer.emit(setSlot(SLOT.RUNS, i32.add(slot(SLOT.RUNS), ONE)));
  });
  writer.emit(setSlot(SLOT.RUN_END, i32.load(getLocal(frame), FRAME.END * WORD)));
}

/**
 * Selects the list of patterns to try, by the message's first key and one character of its type's name.
 *
 *     bucket = OTHERS;
 *     if (at[3] == 'y') {
 *       if (at[8] == '"') bucket = COMPACT + at[8 + 1 + keyOffset];        // {"type":"…
 *       if (at[8] == ' ') bucket = SPACED + at[9 + 1 + keyOffset];         // {"type": "…
 *     }
 *     list = buckets[bucket];
 */
function findList(writer: FunctionWriter, list: number, buckets: number, keyOffset: number): void {
  const at = getLocal(0);
  const isByte = (offset: number, code: number) => i32.eq(i32.load8_u(at, offset), i32.const(code));
  const useBucket = (bucket: number, offset: number) =>
    writer.set(list, i32.add(i32.const(bucket), i32.load8_u(at, offset)));
  writer.set(list, i32.const(BUCKETS.OTHERS));
  writer.if(isByte(Y_OFFSET, Y), () => {
    const nameOffset = QUOTE_LENGTH + keyOffset;
    const value = COMPACT_HEAD.length;
    writer.if(isByte(value, QUOTE), () => useBucket(BUCKETS.COMPACT, value + nameOffset));
    writer.if(isByte(value, SPACE), () => useBucket(BUCKETS.SPACED, SPACED_HEAD.length + nameOffset));
  });
  writer.set(list, i32.load(i32.mul(getLocal(list), i32.const(4)), buckets));
}

/**
 * Swaps an entry with the one before it, so that patterns that match often move to the front.
 *
 *     swap(entry[-1], entry[0]);
 */
function moveForward(writer: FunctionWriter, entry: number): void {
  const previous = writer.local('previous');
  const field = writer.local('field');
  writer.set(previous, i32.sub(getLocal(entry), i32.const(ENTRY.SIZE)));
  for (const offset of [ENTRY.FUNCTION, ENTRY.TYPE, ENTRY.LAST_SCAN]) {
    writer.set(field, i32.load(getLocal(previous), offset));
    writer.emit(i32.store(getLocal(previous), i32.load(getLocal(entry), offset), offset));
    writer.emit(i32.store(getLocal(entry), getLocal(field), offset));
  }
}

/**
 * Adds the function that finds the row of a job of the current run, or adds it.
 *
 *     jobRow(low, high) {
 *       slot = &jobSlots[low % JOB_SLOTS], row = *slot;
 *       if (row >= RUN_JOBS && row < JOBS && jobs[row].low == low && jobs[row].high == high) return row;
 *       jobs[JOBS] = { low, high, NO_FRAME };
 *       *slot = JOBS;
 *       return JOBS++;
 *     }
 */
function addJobRow(module: ModuleWriter, map: MemoryMap): number {
  return module.add('jobRow', ['low', 'high'], (writer) => {
    const [low, high] = [getLocal(0), getLocal(1)];
    const [slotAt, row, job] = [writer.local('slot'), writer.local('row'), writer.local('job')];
    writer.set(slotAt, rowAddress(map.jobSlots, i32.and(low, i32.const(JOB_SLOTS - 1)), 1));
    writer.set(row, i32.load(getLocal(slotAt)));
    writer.set(job, rowAddress(map.jobs, getLocal(row), JOB.SIZE));
    const isCurrent = i32.and(
      i32.ge_u(getLocal(row), slot(SLOT.RUN_JOBS)),
      i32.lt_u(getLocal(row), slot(SLOT.JOBS)),
    );
    const isSame = i32.and(
      i32.eq(i32.load(getLocal(job), JOB.LOW * WORD), low),
      i32.eq(i32.load(getLocal(job), JOB.HIGH * WORD), high),
    );
    writer.if(i32.and(isCurrent, isSame), () => writer.return(getLocal(row)));
    writer.set(row, slot(SLOT.JOBS));
    writer.set(job, rowAddress(map.jobs, getLocal(row), JOB.SIZE));
    writer.emit(i32.store(getLocal(job), low, JOB.LOW * WORD));
    writer.emit(i32.store(getLocal(job), high, JOB.HIGH * WORD));
    writer.emit(i32.store(getLocal(job), i32.const(NO_FRAME), JOB.LATEST * WORD));
    writer.emit(i32.store(getLocal(slotAt), getLocal(row)));
    writer.emit(setSlot(SLOT.JOBS, i32.add(getLocal(row), ONE)));
    return getLocal(row);
  });
}

/**
 * Adds the function that hashes a job id as `jobKey` in job-key.ts does, and stores the key in JOB_LOW and JOB_HIGH.
 * `mix` is described at JOB_HASH.
 *
 *     hash(at, length) {
 *       low = seedLow ^ length, high = seedHigh, end = at + length;
 *       for (; at + 4 <= end; at += 4) mix(load32(at));
 *       if (at < end) mix(load32(at) & (1 << 8 * (end - at)) - 1);        // without the bytes after the id
 *       for (word = 0; word < FINAL_WORDS; word++) mix(0);
 *       JOB_LOW = low, JOB_HIGH = high | 1;
 *       return 0;
 *     }
 */
function addHash(module: ModuleWriter, [seedLow, seedHigh]: JobSeed): number {
  return module.add('hash', ['at', 'length'], (writer) => {
    const [AT, LENGTH] = [0, 1];
    const [low, high, end] = [writer.local('low'), writer.local('high'), writer.local('end')];
    const at = getLocal(AT);
    const mix = (word: Code): void => {
      const { LOW, HIGH } = JOB_HASH;
      const rotatedLow = i32.rotl(
        i32.mul(i32.xor(getLocal(low), word), i32.const(LOW.FACTOR)),
        i32.const(LOW.TURN),
      );
      writer.set(low, i32.add(rotatedLow, getLocal(high)));
      const rotatedHigh = i32.rotl(
        i32.mul(i32.xor(getLocal(high), word), i32.const(HIGH.FACTOR)),
        i32.const(HIGH.TURN),
      );
      writer.set(high, i32.xor(rotatedHigh, getLocal(low)));
    };

    writer.set(low, i32.xor(i32.const(seedLow), getLocal(LENGTH)));
    writer.set(high, i32.const(seedHigh));
    writer.set(end, i32.add(at, getLocal(LENGTH)));
    writer.block((isDone) => {
      writer.loop((again) => {
        writer.branchIf(isDone, i32.gt_u(i32.add(at, i32.const(WORD)), getLocal(end)));
        mix(i32.load(at));
        advance(writer, AT, i32.const(WORD));
        writer.branch(again);
      });
    });
    writer.if(i32.lt_u(at, getLocal(end)), () => {
      const bits = i32.shl(i32.sub(getLocal(end), at), i32.const(3));
      mix(i32.and(i32.load(at), i32.sub(i32.shl(ONE, bits), ONE)));
    });
    for (let word = 0; word < JOB_HASH.FINAL_WORDS; word++) mix(NOTHING);
    writer.emit(setSlot(SLOT.JOB_LOW, getLocal(low)));
    writer.emit(setSlot(SLOT.JOB_HIGH, i32.or(getLocal(high), ONE)));
    return NOTHING;
  });
}
