// The parts of JSON that patterns share, as WebAssembly functions. Each takes the address of some text and
// gives the address behind what it takes there, or 0. Text is read 16 bytes at a time, beyond its end too: it
// ends with zeros, which nothing takes.
//
// Measured for strings of 8 to 40 bytes: 3 to 5 ns each; a byte at a time, 10 to 40.

import {
  type Code,
  call,
  F64,
  f64,
  getLocal,
  I64,
  i8x16,
  i32,
  i64,
  select,
  V128,
} from './wasm/expressions.js';
import { advance, type FunctionWriter } from './wasm/function-writer.js';
import type { ModuleWriter } from './wasm/module-writer.js';

const [QUOTE, BACKSLASH, SPACE] = [0x22, 0x5c, 0x20];
const [MINUS, PLUS, POINT, ZERO, COLON] = [0x2d, 0x2b, 0x2e, 0x30, 0x3a];
/** Digits up to which a number is finite, and exact where it is whole. */
const MAX_DIGITS = 15;
const LANES = 16;

const codeOf = (character: string): number => character.charCodeAt(0);

/** The place of each letter that may follow a backslash, counted from the backslash itself. */
const ESCAPES = [...'\\bfnrt'].reduce((bits, letter) => bits | (1 << (codeOf(letter) - BACKSLASH)), 0);

/** Two bits for each month, from January: how many days it has beyond 28, in a year that is no leap year. */
const DAYS_OVER_28 = [3, 0, 3, 2, 3, 2, 3, 3, 2, 3, 2, 3].reduce(
  (bits, days, month) => bits | (days << (2 * month)),
  0,
);

/** A date and a time up to the minute: the least character of each place, and how far it may be above. */
const DATE_TIME = '0000-00-00T00:00';
const DATE_TIME_SPANS = [9, 9, 9, 9, 0, 1, 9, 0, 3, 9, 0, 2, 9, 0, 5, 9];
const DATE_LENGTH = 10;

type Scanner = (module: ModuleWriter, writer: FunctionWriter, scanners: Scanners) => Code;

export class Scanners {
  readonly #module: ModuleWriter;
  readonly #added = new Map<Scanner, number>();
  #value: number | undefined;

  constructor(module: ModuleWriter) {
    this.#module = module;
  }

  /** After the opening quote of any string: behind its closing quote. */
  string = (at: Code): Code => call(this.#add(string), at);
  /** After the opening quote of a string of ASCII without escapes: its closing quote. */
  ascii = (at: Code): Code => call(this.#add(ascii), at);
  /** After the opening quote of a key without escapes that is not `__proto__`: behind its closing quote. */
  key = (at: Code): Code => call(this.#add(key), at);
  number = (at: Code): Code => call(this.#add(number), at);
  /** A number whose value is then in {@link value}. */
  decimal = (at: Code): Code => call(this.#add(decimal), at);
  /** 1 where so many hexadecimal digits are, else 0. */
  hex = (at: Code, count: number): Code => call(this.#add(hex, 2), at, i32.const(count));
  /** After the opening quote of a day: its closing quote. */
  date = (at: Code): Code => call(this.#add(date), at);
  /** After the opening quote of a date and time: its closing quote. */
  dateTime = (at: Code, allowsOffset: boolean): Code =>
    call(this.#add(dateTime, 2), at, i32.const(allowsOffset ? 1 : 0));
  /** 1 where the month and day of a date are, else 0. */
  day = (at: Code): Code => call(this.#add(day), at);

  /** The variable that {@link decimal} leaves its value in. */
  get value(): number {
    this.#value ??= this.#module.global(F64, f64.const(0));
    return this.#value;
  }

  #add(scanner: Scanner, parameters = 1): number {
    const known = this.#added.get(scanner);
    if (known !== undefined) return known;
    const number = this.#module.add(parameters, (writer) => scanner(this.#module, writer, this));
    this.#added.set(scanner, number);
    return number;
  }
}

const NOTHING = i32.const(0);
/** The address that every scanner is given. */
const AT = 0;
const at = getLocal(AT);
const byte = (offset = 0): Code => i32.load8_u(at, offset);
const isByte = (code: number, offset = 0): Code => i32.eq(byte(offset), i32.const(code));
/** Whether a byte is from `first` on, at most `span` further. */
const isWithin = (value: Code, first: number, span: number): Code =>
  i32.leU(i32.sub(value, i32.const(first)), i32.const(span));
const isDigit = (offset: number): Code => isWithin(byte(offset), ZERO, 9);

/** Moves {@link AT} to the first byte that is a quote, a backslash or `isOdd`; gives that byte's local. */
function skipPlain(writer: FunctionWriter, isOdd: (text: Code) => Code): number {
  const [lanes, found, stop] = [writer.local(V128), writer.local(), writer.local()];
  const text = getLocal(lanes);
  writer.loop((again) => {
    writer.set(lanes, i8x16.load(at));
    const isQuote = i8x16.eq(text, i8x16.splat(QUOTE));
    const isBackslash = i8x16.eq(text, i8x16.splat(BACKSLASH));
    writer.set(found, i8x16.bitmask(i8x16.or(i8x16.or(isQuote, isBackslash), isOdd(text))));
    writer.if(i32.eqz(getLocal(found)), () => {
      advance(writer, AT, i32.const(LANES));
      writer.branch(again);
    });
  });
  advance(writer, AT, i32.ctz(getLocal(found)));
  writer.set(stop, byte());
  return stop;
}

/** Control characters: JSON has none in strings. */
const isControl = (text: Code): Code => i8x16.ltU(text, i8x16.splat(SPACE));
/** Those, and all above ASCII: compared with their sign, these are below 0. */
const isControlOrHigh = (text: Code): Code => i8x16.ltS(text, i8x16.splat(SPACE));

function string(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  writer.loop((again) => {
    const stop = getLocal(skipPlain(writer, isControl));
    writer.if(i32.eq(stop, i32.const(QUOTE)), () => writer.return(i32.add(at, i32.const(1))));
    writer.if(i32.eq(stop, i32.const(BACKSLASH)), () => {
      const letter = byte(1);
      writer.if(i32.eq(letter, i32.const(codeOf('u'))), () => {
        writer.if(scanners.hex(i32.add(at, i32.const(2)), 4), () => {
          advance(writer, AT, i32.const(6));
          writer.branch(again);
        });
        writer.return(NOTHING);
      });
      const place = i32.sub(letter, i32.const(BACKSLASH));
      const isLetter = i32.and(
        i32.ltU(place, i32.const(32)),
        i32.and(i32.shrU(i32.const(ESCAPES), place), i32.const(1)),
      );
      const isMark = i32.or(i32.eq(letter, i32.const(QUOTE)), i32.eq(letter, i32.const(codeOf('/'))));
      writer.if(i32.or(isLetter, isMark), () => {
        advance(writer, AT, i32.const(2));
        writer.branch(again);
      });
    });
  });
  return NOTHING;
}

function ascii(_: ModuleWriter, writer: FunctionWriter): Code {
  const stop = skipPlain(writer, isControlOrHigh);
  return select(at, NOTHING, i32.eq(getLocal(stop), i32.const(QUOTE)));
}

function key(_: ModuleWriter, writer: FunctionWriter): Code {
  const start = writer.local();
  writer.set(start, at);
  const stop = skipPlain(writer, isControl);
  writer.if(i32.ne(getLocal(stop), i32.const(QUOTE)), () => writer.return(NOTHING));
  const begin = getLocal(start);
  const proto = Buffer.from('__proto__');
  writer.if(i32.eq(i32.sub(at, begin), i32.const(proto.length)), () => {
    const differs = i32.or(
      i64.ne(i64.load(begin), i64.const(proto.readBigUInt64LE())),
      i32.ne(i32.load8_u(begin, 8), i32.const(proto[8] ?? 0)),
    );
    writer.if(i32.eqz(differs), () => writer.return(NOTHING));
  });
  return i32.add(at, i32.const(1));
}

/** How many digits there are, up to 16. */
function digits(offset = 0): Code {
  const isDigitLane = i8x16.leU(i8x16.sub(i8x16.load(at, offset), i8x16.splat(ZERO)), i8x16.splat(9));
  return i32.ctz(i32.xor(i8x16.bitmask(isDigitLane), i32.const(-1)));
}

/** Leaves, when there are no digits or too many. @param most as a number that counts from 0 */
function needDigits(writer: FunctionWriter, count: number, most = i32.const(MAX_DIGITS)): void {
  const isGood = i32.ltU(i32.sub(getLocal(count), i32.const(1)), most);
  writer.if(i32.eqz(isGood), () => writer.return(NOTHING));
}

/** Counts the digits of the whole part, which has no leading zero. */
function wholePart(writer: FunctionWriter, count: number): void {
  writer.set(count, digits());
  needDigits(writer, count);
  writer.if(i32.and(isByte(ZERO), i32.gtU(getLocal(count), i32.const(1))), () => writer.return(NOTHING));
}

function number(_: ModuleWriter, writer: FunctionWriter): Code {
  const count = writer.local();
  advance(writer, AT, isByte(MINUS));
  wholePart(writer, count);
  advance(writer, AT, getLocal(count));
  writer.if(isByte(POINT), () => {
    writer.set(count, digits(1));
    needDigits(writer, count);
    advance(writer, AT, i32.add(getLocal(count), i32.const(1)));
  });
  return at;
}

/**
 * With at most 15 digits in all, the digits and the power of ten are both exact, and so their quotient is
 * rounded once, as JSON.parse rounds: William D. Clinger, "How to read floating point numbers accurately", 1990.
 */
function decimal(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  const [isNegative, count, fraction] = [writer.local(), writer.local(), writer.local()];
  const [whole, scale] = [writer.local(I64), writer.local(F64)];
  const takeDigits = (left: number, onDigit: () => void): void => {
    writer.loop((again) => {
      const digit = i64.extend_i32_u(i32.sub(byte(), i32.const(ZERO)));
      writer.set(whole, i64.add(i64.mul(getLocal(whole), i64.const(10n)), digit));
      advance(writer, AT, i32.const(1));
      onDigit();
      writer.set(left, i32.sub(getLocal(left), i32.const(1)));
      writer.branchIf(again, getLocal(left));
    });
  };
  writer.set(isNegative, isByte(MINUS));
  advance(writer, AT, getLocal(isNegative));
  wholePart(writer, count);
  writer.set(scale, f64.const(1));
  writer.set(fraction, i32.sub(i32.const(MAX_DIGITS), getLocal(count)));
  takeDigits(count, () => {});
  writer.if(isByte(POINT), () => {
    writer.set(count, digits(1));
    needDigits(writer, count, getLocal(fraction));
    advance(writer, AT, i32.const(1));
    takeDigits(count, () => writer.set(scale, f64.mul(getLocal(scale), f64.const(10))));
  });
  const value = f64.div(f64.convert_i64_s(getLocal(whole)), getLocal(scale));
  writer.setGlobal(scanners.value, select(f64.neg(value), value, getLocal(isNegative)));
  return at;
}

function hex(_: ModuleWriter, writer: FunctionWriter): Code {
  const left = 1;
  writer.loop((again) => {
    const isLetter = isWithin(i32.or(byte(), i32.const(SPACE)), codeOf('a'), 5);
    writer.if(i32.eqz(i32.or(isDigit(0), isLetter)), () => writer.return(NOTHING));
    advance(writer, AT, i32.const(1));
    writer.set(left, i32.sub(getLocal(left), i32.const(1)));
    writer.branchIf(again, getLocal(left));
  });
  return i32.const(1);
}

/** The number that two digits write. */
const twoDigits = (offset: number): Code =>
  i32.sub(i32.add(i32.mul(byte(offset), i32.const(10)), byte(offset + 1)), i32.const(ZERO * 11));

/** Whether 16 bytes have the form of a date and time, as far as the given length. */
function hasForm(length: number): Code {
  const low = [...DATE_TIME].map((character, index) => (index < length ? codeOf(character) : 0));
  const spans = DATE_TIME_SPANS.map((span, index) => (index < length ? span : 0xff));
  return i8x16.allTrue(i8x16.leU(i8x16.sub(i8x16.load(at), i8x16.const(low)), i8x16.const(spans)));
}

function day(_: ModuleWriter, writer: FunctionWriter): Code {
  const month = writer.local();
  writer.set(month, i32.sub(twoDigits(5), i32.const(1)));
  writer.if(i32.eqz(i32.ltU(getLocal(month), i32.const(12))), () => writer.return(NOTHING));
  const over28 = i32.and(
    i32.shrU(i32.const(DAYS_OVER_28), i32.shl(getLocal(month), i32.const(1))),
    i32.const(3),
  );
  // Every fourth year, and of those that end a century every fourth.
  const [century, year] = [twoDigits(0), twoDigits(2)];
  const isLeapYear = i32.eqz(i32.and(select(year, century, year), i32.const(3)));
  const leapDay = i32.and(isLeapYear, i32.eq(getLocal(month), i32.const(1)));
  // A day 0 is far above every limit, less one and without its sign.
  return i32.ltU(i32.sub(twoDigits(8), i32.const(1)), i32.add(over28, i32.add(leapDay, i32.const(28))));
}

function date(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  writer.if(i32.eqz(hasForm(DATE_LENGTH)), () => writer.return(NOTHING));
  writer.if(i32.eqz(scanners.day(at)), () => writer.return(NOTHING));
  const end = i32.add(at, i32.const(DATE_LENGTH));
  return select(end, NOTHING, isByte(QUOTE, DATE_LENGTH));
}

/** Whether `HH` is an hour: its form says 29 at most. */
const isHour = (offset: number): Code => i32.ltU(twoDigits(offset), i32.const(24));

function dateTime(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  const [allowsOffset, count] = [1, writer.local()];
  const failUnless = (condition: Code): void => writer.if(i32.eqz(condition), () => writer.return(NOTHING));
  failUnless(hasForm(LANES));
  failUnless(isHour(11));
  failUnless(scanners.day(at));
  failUnless(i32.and(isByte(COLON, 16), i32.and(isWithin(byte(17), ZERO, 5), isDigit(18))));
  advance(writer, AT, i32.const(19));
  writer.if(isByte(POINT), () => {
    advance(writer, AT, i32.const(1));
    failUnless(isDigit(0));
    writer.loop((again) => {
      writer.set(count, digits());
      advance(writer, AT, getLocal(count));
      writer.branchIf(again, i32.eq(getLocal(count), i32.const(LANES)));
    });
  });
  writer.if(isByte(codeOf('Z')), () =>
    writer.return(select(i32.add(at, i32.const(1)), NOTHING, isByte(QUOTE, 1))),
  );
  failUnless(getLocal(allowsOffset));
  failUnless(i32.or(isByte(PLUS), isByte(MINUS)));
  failUnless(i32.and(isDigit(1), isDigit(2)));
  failUnless(isHour(1));
  failUnless(i32.and(isByte(COLON, 3), i32.and(isWithin(byte(4), ZERO, 5), isDigit(5))));
  return select(i32.add(at, i32.const(6)), NOTHING, isByte(QUOTE, 6));
}
