// The loop around the patterns, as WebAssembly: takes one message after another, as far as some pattern knows
// them, and writes down where each lies, what type it is and which job it speaks of.

import type { Framing } from '../protocol/framing.js';
import {
  ENTRY,
  ID,
  ID_PLACES,
  MATCH,
  MAX_ID_LENGTH,
  MAX_IDS,
  MAX_MATCHES,
  type MemoryMap,
  NO_HEARTBEAT,
  SHELVES,
  SLOT,
  STOP,
} from './machine-memory.js';
import { type Code, call, callIndirect, getLocal, I64, i32, i64, select } from './wasm/expressions.js';
import { advance, type FunctionWriter } from './wasm/function-writer.js';
import { ModuleWriter } from './wasm/module-writer.js';

export interface DriverSettings {
  readonly framing: Framing;
  /** The byte that ends a message. */
  readonly delimiter: number;
  /** Longest message, in bytes. */
  readonly maxMessageSize: number;
  /** Place in a type's name of the character that tells most names apart. */
  readonly telling: number;
  /** Where the hashes of job ids begin: not to be guessed, so that nobody can make them collide. */
  readonly seed: bigint;
}

/** Text before the type's name, where that comes first: as `JSON.stringify` and as `json.dumps` write it. */
export const COMPACT_HEAD = '{"type":';
export const SPACED_HEAD = '{"type": ';
/** Where those two differ from most other beginnings. */
const SECOND_LETTER = 3;
const QUOTED = 1;
const [QUOTE, SPACE, CARRIAGE_RETURN] = [0x22, 0x20, 0x0d];
const Y = 0x79;

/** An odd number with its bits well mixed: 2^64 divided by the golden ratio. */
const MULTIPLIER = 0x9e37_79b9_7f4a_7c15n;
const WORD = 8;

const NOTHING = i32.const(0);
const ONE = i32.const(1);
const NO_JOBS = i32.const(NO_HEARTBEAT);
const slot = (offset: number): Code => i32.load(NOTHING, offset);
const setSlot = (offset: number, value: Code): Code => i32.store(NOTHING, value, offset);

/** The module's bytes. It imports `env.memory` and `env.table`, and exports `scan`. */
export function generateDriver(map: MemoryMap, settings: DriverSettings): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  module.importTable();
  const intern = addIntern(module, map, settings.seed);
  const matchType = module.typeOf(1);
  module.add(2, (writer) => writeScan(writer, map, settings, matchType, intern), 'scan');
  return module.bytes();
}

/** Takes the address of a message and that of the text's end; gives the address that it has come to. */
function writeScan(
  writer: FunctionWriter,
  map: MemoryMap,
  { framing, delimiter, maxMessageSize, telling }: DriverSettings,
  matchType: number,
  intern: number,
): Code {
  const [AT, END] = [0, 1];
  const [head, entry, stop, next] = [writer.local(), writer.local(), writer.local(), writer.local()];
  const [matches, lines, reason, job] = [writer.local(), writer.local(), writer.local(), writer.local()];
  const at = getLocal(AT);
  const end = getLocal(END);
  const stopped = getLocal(stop);
  const isDelimiter = (offset: number) => i32.eq(i32.load8(stopped, offset), i32.const(delimiter));

  writer.do(setSlot(SLOT.HEARTBEAT, NO_JOBS));
  writer.block((out) => {
    writer.loop((again) => {
      writer.branchIf(out, i32.geU(at, end));
      writer.if(i32.eq(getLocal(matches), i32.const(MAX_MATCHES)), () => {
        writer.set(reason, i32.const(STOP.FULL));
        writer.branch(out);
      });
      findList(writer, head, map.shelves, telling);
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
        const isReturn = i32.eq(i32.load8(stopped), i32.const(CARRIAGE_RETURN));
        writer.if(i32.and(isReturn, i32.and(isDelimiter(1), i32.ltU(i32.add(stopped, ONE), end))), () =>
          pass(2),
        );
        if (framing === 'ndjson') writer.branch(out);
      });
      writer.set(job, NOTHING);
      writer.if(slot(SLOT.JOB_START), () => {
        writer.branchIf(out, i32.gtU(slot(SLOT.JOB_LENGTH), i32.const(MAX_ID_LENGTH)));
        writer.set(job, call(intern, slot(SLOT.JOB_START), slot(SLOT.JOB_LENGTH)));
        writer.if(i32.eqz(getLocal(job)), () => {
          writer.set(reason, i32.const(STOP.IDS_FULL));
          writer.branch(out);
        });
      });
      const record = i32.add(i32.const(map.matches), i32.mul(getLocal(matches), i32.const(MATCH.SIZE * 4)));
      writer.do(i32.store(record, at, MATCH.START * 4));
      writer.do(i32.store(record, stopped, MATCH.END * 4));
      writer.do(i32.store(record, i32.load(getLocal(entry), ENTRY.TYPE), MATCH.TYPE * 4));
      writer.do(i32.store(record, getLocal(job), MATCH.JOB * 4));
      writer.do(i32.store(getLocal(entry), slot(SLOT.STAMP), ENTRY.STAMP));
      writer.if(i32.ne(getLocal(entry), getLocal(head)), () => moveForward(writer, entry));
      writer.if(i32.ne(slot(SLOT.HEARTBEAT), NO_JOBS), () => {
        writer.do(setSlot(SLOT.ACTIVE_JOBS, slot(SLOT.HEARTBEAT)));
        writer.do(setSlot(SLOT.HEARTBEAT, NO_JOBS));
      });
      advance(writer, matches, ONE);
      // Not before: where the loop has stopped, the same message comes again.
      writer.if(i32.ne(getLocal(next), stopped), () => advance(writer, lines, ONE));
      writer.set(AT, getLocal(next));
      writer.branch(again);
    });
  });
  writer.do(setSlot(SLOT.MATCHES, getLocal(matches)));
  writer.do(setSlot(SLOT.LINES, getLocal(lines)));
  writer.do(setSlot(SLOT.STOP, getLocal(reason)));
  return at;
}

/** The list of patterns to try, by a character or two of the text. */
function findList(writer: FunctionWriter, list: number, shelves: number, telling: number): void {
  const at = getLocal(0);
  const isByte = (offset: number, code: number) => i32.eq(i32.load8(at, offset), i32.const(code));
  const take = (shelf: number, offset: number) =>
    writer.set(list, i32.add(i32.const(shelf), i32.load8(at, offset)));
  writer.set(list, i32.const(SHELVES.OTHERS));
  writer.if(isByte(SECOND_LETTER, Y), () => {
    const tell = telling + QUOTED;
    const value = COMPACT_HEAD.length;
    writer.if(isByte(value, QUOTE), () => take(SHELVES.COMPACT, value + tell));
    writer.if(isByte(value, SPACE), () => take(SHELVES.SPACED, SPACED_HEAD.length + tell));
  });
  writer.set(list, i32.load(i32.mul(getLocal(list), i32.const(4)), shelves));
}

/** Swaps a list's entry with the one before it: those that match often come first. */
function moveForward(writer: FunctionWriter, entry: number): void {
  const before = writer.local();
  const kept = writer.local();
  writer.set(before, i32.sub(getLocal(entry), i32.const(ENTRY.SIZE)));
  for (const field of [ENTRY.FUNCTION, ENTRY.TYPE, ENTRY.STAMP]) {
    writer.set(kept, i32.load(getLocal(before), field));
    writer.do(i32.store(getLocal(before), i32.load(getLocal(entry), field), field));
    writer.do(i32.store(getLocal(entry), getLocal(kept), field));
  }
}

/**
 * Adds the function that numbers job ids: equal ones get the same number, from 1. It takes the address and the
 * length of an id, and gives 0 where there is no room for another one. Open addressing with linear probing.
 */
function addIntern(module: ModuleWriter, map: MemoryMap, seed: bigint): number {
  return module.add(2, (writer) => {
    const [START, LENGTH] = [0, 1];
    const [hash, place, id, entry] = [writer.local(I64), writer.local(), writer.local(), writer.local()];
    const start = getLocal(START);
    const length = getLocal(LENGTH);
    const offset = writer.local();
    const idPlace = () => i32.mul(getLocal(place), i32.const(4));
    const shortHash = i32.wrap(getLocal(hash));

    writer.set(hash, i64.xor(i64.const(seed), i64.extend(length)));
    eachWord(writer, offset, length, () => {
      const word = wordAt(start, getLocal(offset), length);
      const mixed = i64.mul(i64.xor(getLocal(hash), word), i64.const(MULTIPLIER));
      writer.set(hash, i64.rotl(mixed, i64.const(29n)));
    });
    writer.set(hash, i64.xor(getLocal(hash), i64.shrU(getLocal(hash), i64.const(32n))));
    writer.set(place, i32.and(shortHash, i32.const(ID_PLACES - 1)));

    writer.block((isNew) => {
      writer.loop((probe) => {
        writer.set(id, i32.load(idPlace(), map.idPlaces));
        writer.branchIf(isNew, i32.eqz(getLocal(id)));
        writer.set(entry, i32.mul(getLocal(id), i32.const(ID.SIZE)));
        writer.block((differs) => {
          writer.branchIf(differs, i32.ne(i32.load(getLocal(entry), map.ids + ID.HASH), shortHash));
          writer.branchIf(differs, i32.ne(i32.load(getLocal(entry), map.ids + ID.LENGTH), length));
          const known = i32.load(getLocal(entry), map.ids + ID.START);
          eachWord(writer, offset, length, () => {
            const ours = wordAt(start, getLocal(offset), length);
            writer.branchIf(differs, i64.ne(ours, wordAt(known, getLocal(offset), length)));
          });
          writer.return(getLocal(id));
        });
        writer.set(place, i32.and(i32.add(getLocal(place), ONE), i32.const(ID_PLACES - 1)));
        writer.branch(probe);
      });
    });

    const namesEnd = slot(SLOT.NAMES_END);
    const isFull = i32.or(
      i32.eq(slot(SLOT.IDS), i32.const(MAX_IDS)),
      i32.gtU(i32.add(namesEnd, length), i32.const(map.namesLimit)),
    );
    writer.if(isFull, () => writer.return(NOTHING));
    writer.set(id, i32.add(slot(SLOT.IDS), ONE));
    writer.set(entry, i32.mul(getLocal(id), i32.const(ID.SIZE)));
    writer.do(setSlot(SLOT.IDS, getLocal(id)));
    writer.do(i32.store(idPlace(), getLocal(id), map.idPlaces));
    writer.do(i32.store(getLocal(entry), shortHash, map.ids + ID.HASH));
    writer.do(i32.store(getLocal(entry), namesEnd, map.ids + ID.START));
    writer.do(i32.store(getLocal(entry), length, map.ids + ID.LENGTH));
    eachWord(writer, offset, length, () => {
      const word = i64.load(i32.add(start, getLocal(offset)));
      writer.do(i64.store(i32.add(namesEnd, getLocal(offset)), word));
    });
    writer.do(setSlot(SLOT.NAMES_END, i32.add(namesEnd, length)));
    return getLocal(id);
  });
}

/** Runs the body for each eight bytes of a length, the last ones perhaps less. */
function eachWord(writer: FunctionWriter, offset: number, length: Code, body: () => void): void {
  writer.set(offset, NOTHING);
  writer.block((done) => {
    writer.loop((again) => {
      writer.branchIf(done, i32.geU(getLocal(offset), length));
      body();
      advance(writer, offset, i32.const(WORD));
      writer.branch(again);
    });
  });
}

/** Eight bytes at an offset; those beyond the length as zeros. */
function wordAt(start: Code, offset: Code, length: Code): Code {
  const left = i32.sub(length, offset);
  const bits = i64.extend(i32.mul(i32.sub(i32.const(WORD), left), i32.const(8)));
  const word = i64.load(i32.add(start, offset));
  const cut = i64.shrU(i64.shl(word, bits), bits);
  return select(cut, word, i32.ltU(left, i32.const(WORD)));
}
