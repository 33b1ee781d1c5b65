// The loop around the patterns, as WebAssembly: takes one message after another, as far as some pattern knows
// them, and writes down where each lies, what type it is and which job it speaks of.

import { JOB_HASH, type JobSeed } from '../messages/job-key.js';
import type { Framing } from '../wire/framing.js';
import {
  BUCKETS,
  ENTRY,
  MATCH,
  MAX_MATCHES,
  type MemoryMap,
  NO_HEARTBEAT,
  SLOT,
  STOP,
} from './memory-layout.js';
import { type Code, call, callIndirect, drop, getLocal, i32 } from './wasm/expressions.js';
import { advance, type FunctionWriter } from './wasm/function-writer.js';
import { ModuleWriter } from './wasm/module-writer.js';

export interface DriverSettings {
  readonly framing: Framing;
  /** The byte that ends a message. */
  readonly delimiter: number;
  /** Longest message, in bytes. */
  readonly maxMessageSize: number;
  /** Place in a type's name of the character that tells most names apart. */
  readonly keyOffset: number;
  /** Of the job ids' hash. */
  readonly jobSeed: JobSeed;
}

/** Text before the type's name, where that comes first: as `JSON.stringify` and as `json.dumps` write it. */
export const COMPACT_HEAD = '{"type":';
export const SPACED_HEAD = '{"type": ';
/** Where those two differ from most other beginnings. */
const SECOND_LETTER = 3;
const QUOTED = 1;
const [QUOTE, SPACE, CARRIAGE_RETURN] = [0x22, 0x20, 0x0d];
const Y = 0x79;

const WORD = 4;

const NOTHING = i32.const(0);
const ONE = i32.const(1);
const NO_JOBS = i32.const(NO_HEARTBEAT);
const slot = (offset: number): Code => i32.load(NOTHING, offset);
const setSlot = (offset: number, value: Code): Code => i32.store(NOTHING, value, offset);

/** The module's bytes. It imports `env.memory` and `env.table`, and exports `scan`. */
export function generateDriver(map: MemoryMap, settings: DriverSettings): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  module.importTable();
  const hash = addHash(module, settings.jobSeed);
  const matchType = module.typeOf(1);
  module.add(2, (writer) => writeScan(writer, map, settings, matchType, hash), 'scan');
  return module.bytes();
}

/** Takes the address of a message and that of the text's end; gives the address that it has come to. */
function writeScan(
  writer: FunctionWriter,
  map: MemoryMap,
  { framing, delimiter, maxMessageSize, keyOffset }: DriverSettings,
  matchType: number,
  hash: number,
): Code {
  const [AT, END] = [0, 1];
  const [head, entry, stop, next] = [writer.local(), writer.local(), writer.local(), writer.local()];
  const [matches, lines, reason, record] = [writer.local(), writer.local(), writer.local(), writer.local()];
  const at = getLocal(AT);
  const end = getLocal(END);
  const stopped = getLocal(stop);
  const isDelimiter = (offset: number) => i32.eq(i32.load8_u(stopped, offset), i32.const(delimiter));

  writer.emit(setSlot(SLOT.HEARTBEAT, NO_JOBS));
  writer.block((out) => {
    writer.loop((again) => {
      writer.branchIf(out, i32.geU(at, end));
      writer.if(i32.eq(getLocal(matches), i32.const(MAX_MATCHES)), () => {
        writer.set(reason, i32.const(STOP.FULL));
        writer.branch(out);
      });
      findList(writer, head, map.buckets, keyOffset);
      writer.set(entry, getLocal(head));
      writer.block((found) => {
        writer.loop((tryNext) => {
          writer.branchIf(out, i32.eqz(i32.load(getLocal(entry), ENTRY.FUNCTION)));
          writer.set(stop, callIndirect(matchType, i32.load(getLocal(entry), ENTRY.FUNCTION), at));
          writer.branchIf(found, stopped);
          advance(writer, entry, i32.const(ENTRY.SIZE));
          writer.branch(tryNext);
        });
      });
      writer.branchIf(out, i32.gtU(i32.sub(stopped, at), i32.const(maxMessageSize)));
      writer.set(next, stopped);
      writer.block((isEnded) => {
        writer.branchIf(isEnded, i32.geU(stopped, end));
        const pass = (length: number) => {
          advance(writer, next, i32.const(length));
          writer.branch(isEnded);
        };
        writer.if(isDelimiter(0), () => pass(1));
        const isReturn = i32.eq(i32.load8_u(stopped), i32.const(CARRIAGE_RETURN));
        writer.if(i32.and(isReturn, i32.and(isDelimiter(1), i32.ltU(i32.add(stopped, ONE), end))), () =>
          pass(2),
        );
        if (framing === 'ndjson') writer.branch(out);
      });
      const match = getLocal(record);
      writer.set(
        record,
        i32.add(i32.const(map.matches), i32.mul(getLocal(matches), i32.const(MATCH.SIZE * 4))),
      );
      writer.emit(i32.store(match, at, MATCH.START * 4));
      writer.emit(i32.store(match, stopped, MATCH.END * 4));
      writer.emit(i32.store(match, i32.load(getLocal(entry), ENTRY.TYPE), MATCH.TYPE * 4));
      writer.emit(i32.store(match, NOTHING, MATCH.JOB_LOW * 4));
      writer.emit(i32.store(match, NOTHING, MATCH.JOB_HIGH * 4));
      writer.if(slot(SLOT.JOB_START), () => {
        writer.emit(drop(call(hash, slot(SLOT.JOB_START), slot(SLOT.JOB_LENGTH), match)));
      });
      writer.emit(i32.store(getLocal(entry), slot(SLOT.LAST_SCAN), ENTRY.LAST_SCAN));
      writer.if(i32.ne(getLocal(entry), getLocal(head)), () => moveForward(writer, entry));
      writer.if(i32.ne(slot(SLOT.HEARTBEAT), NO_JOBS), () => {
        writer.emit(setSlot(SLOT.ACTIVE_JOBS, slot(SLOT.HEARTBEAT)));
        writer.emit(setSlot(SLOT.HEARTBEAT, NO_JOBS));
      });
      advance(writer, matches, ONE);
      // Not before: where the loop has stopped, the same message comes again.
      writer.if(i32.ne(getLocal(next), stopped), () => advance(writer, lines, ONE));
      writer.set(AT, getLocal(next));
      writer.branch(again);
    });
  });
  writer.emit(setSlot(SLOT.MATCHES, getLocal(matches)));
  writer.emit(setSlot(SLOT.LINES, getLocal(lines)));
  writer.emit(setSlot(SLOT.STOP, getLocal(reason)));
  return at;
}

/** The list of patterns to try, by a character or two of the text. */
function findList(writer: FunctionWriter, list: number, buckets: number, keyOffset: number): void {
  const at = getLocal(0);
  const isByte = (offset: number, code: number) => i32.eq(i32.load8_u(at, offset), i32.const(code));
  const take = (bucket: number, offset: number) =>
    writer.set(list, i32.add(i32.const(bucket), i32.load8_u(at, offset)));
  writer.set(list, i32.const(BUCKETS.OTHERS));
  writer.if(isByte(SECOND_LETTER, Y), () => {
    const tell = keyOffset + QUOTED;
    const value = COMPACT_HEAD.length;
    writer.if(isByte(value, QUOTE), () => take(BUCKETS.COMPACT, value + tell));
    writer.if(isByte(value, SPACE), () => take(BUCKETS.SPACED, SPACED_HEAD.length + tell));
  });
  writer.set(list, i32.load(i32.mul(getLocal(list), i32.const(4)), buckets));
}

/** Swaps a list's entry with the one before it: those that match often come first. */
function moveForward(writer: FunctionWriter, entry: number): void {
  const before = writer.local();
  const kept = writer.local();
  writer.set(before, i32.sub(getLocal(entry), i32.const(ENTRY.SIZE)));
  for (const field of [ENTRY.FUNCTION, ENTRY.TYPE, ENTRY.LAST_SCAN]) {
    writer.set(kept, i32.load(getLocal(before), field));
    writer.emit(i32.store(getLocal(before), i32.load(getLocal(entry), field), field));
    writer.emit(i32.store(getLocal(entry), getLocal(kept), field));
  }
}

/**
 * Adds the function that hashes a job id, as {@link jobKey} does. It takes the address and the length of the id and
 * the address of a match, where it writes the key.
 */
function addHash(module: ModuleWriter, [seedLow, seedHigh]: JobSeed): number {
  return module.add(3, (writer) => {
    const [AT, LENGTH, MATCH_AT] = [0, 1, 2];
    const [low, high, end] = [writer.local(), writer.local(), writer.local()];
    const at = getLocal(AT);
    const match = getLocal(MATCH_AT);
    const mix = (word: Code): void => {
      const { LOW, HIGH } = JOB_HASH;
      const turnedLow = i32.rotl(
        i32.mul(i32.xor(getLocal(low), word), i32.const(LOW.FACTOR)),
        i32.const(LOW.TURN),
      );
      writer.set(low, i32.add(turnedLow, getLocal(high)));
      const turnedHigh = i32.rotl(
        i32.mul(i32.xor(getLocal(high), word), i32.const(HIGH.FACTOR)),
        i32.const(HIGH.TURN),
      );
      writer.set(high, i32.xor(turnedHigh, getLocal(low)));
    };

    writer.set(low, i32.xor(i32.const(seedLow), getLocal(LENGTH)));
    writer.set(high, i32.const(seedHigh));
    writer.set(end, i32.add(at, getLocal(LENGTH)));
    writer.block((isDone) => {
      writer.loop((again) => {
        writer.branchIf(isDone, i32.gtU(i32.add(at, i32.const(WORD)), getLocal(end)));
        mix(i32.load(at));
        advance(writer, AT, i32.const(WORD));
        writer.branch(again);
      });
    });
    writer.if(i32.ltU(at, getLocal(end)), () => {
      // What lies behind the id does not belong to it.
      const bits = i32.shl(i32.sub(getLocal(end), at), i32.const(3));
      mix(i32.and(i32.load(at), i32.sub(i32.shl(ONE, bits), ONE)));
    });
    for (let word = 0; word < JOB_HASH.FINAL_WORDS; word++) mix(NOTHING);
    writer.emit(i32.store(match, getLocal(low), MATCH.JOB_LOW * 4));
    writer.emit(i32.store(match, i32.or(getLocal(high), ONE), MATCH.JOB_HIGH * 4));
    return NOTHING;
  });
}
