// Scanners: the JSON elements that patterns have in common, as WebAssembly functions. Each receives the address of a
// text and returns the address after the element that begins there, or 0 if there is none. Text is read 16 bytes at a
// time, also beyond its end: zeros follow it, which no scanner accepts.
//
// Measured for strings of 8 to 40 bytes: 3 to 5 ns each, as against 10 to 40 ns when read byte by byte.
//
// The pseudo-code above each function is C with unsigned integers. `load16` loads a vector of 16 bytes, which operators
// process bytewise; `mask` converts a vector of booleans to one bit per byte; `ctz` is the index of the lowest set bit.

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
/** Numbers of up to this many digits are finite and, if they are integers, exact. */
const MAX_DIGITS = 15;
const LANES = 16;

const codeOf = (character: string): number => character.charCodeAt(0);

/** A bit for each character that may follow a backslash, except `"`, `/` and `u`, at its code minus the backslash's. */
const ESCAPES = [...'\\bfnrt'].reduce((bits, letter) => bits | (1 << (codeOf(letter) - BACKSLASH)), 0);

/** For each month, its days beyond 28 in a common year: 2 bits per month, January lowest. */
const DAYS_OVER_28 = [3, 0, 3, 2, 3, 2, 3, 3, 2, 3, 2, 3].reduce(
  (bits, days, month) => bits | (days << (2 * month)),
  0,
);

/** A date and time up to the minute: the lowest character at each position, and how much greater it may be. */
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

  /** From after the opening quote of any string to after its closing quote. */
  string = (at: Code): Code => call(this.#add(string), at);
  /** From after the opening quote of an ASCII string without escapes to its closing quote. */
  ascii = (at: Code): Code => call(this.#add(ascii), at);
  /** From after the opening quote of a key without escapes, other than `__proto__`, to after its closing quote. */
  key = (at: Code): Code => call(this.#add(key), at);
  /** From the beginning of a number to its end. */
  number = (at: Code): Code => call(this.#add(number), at);
  /** As {@link number}, and stores the number in {@link value}. */
  decimal = (at: Code): Code => call(this.#add(decimal), at);
  /** 1 if `count` hexadecimal digits follow, else 0. */
  hex = (at: Code, count: number): Code => call(this.#add(hex, ['at', 'left']), at, i32.const(count));
  /** From after the opening quote of a date to its closing quote. */
  date = (at: Code): Code => call(this.#add(date), at);
  /** From after the opening quote of a date and time to its closing quote. */
  dateTime = (at: Code, allowsOffset: boolean, allowsLocal: boolean): Code =>
    call(
      this.#add(dateTime, ['at', 'allowsOffset', 'allowsLocal']),
      at,
      i32.const(allowsOffset ? 1 : 0),
      i32.const(allowsLocal ? 1 : 0),
    );
  /** 1 if the month and day of the date exist, else 0. Expects digits. */
  day = (at: Code): Code => call(this.#add(day), at);

  /** Index of the global in which {@link decimal} stores its value. */
  get value(): number {
    this.#value ??= this.#module.global('value', F64, f64.const(0));
    return this.#value;
  }

  #add(scanner: Scanner, parameters: readonly string[] = ['at']): number {
    const known = this.#added.get(scanner);
    if (known !== undefined) return known;
    const index = this.#module.add(scanner.name, parameters, (writer) => scanner(this.#module, writer, this));
    this.#added.set(scanner, index);
    return index;
  }
}

const NOTHING = i32.const(0);
/** The parameter of every scanner: the address, which the code advances. */
const AT = 0;
const at = getLocal(AT);
const byte = (offset = 0): Code => i32.load8_u(at, offset);
const isByte = (code: number, offset = 0): Code => i32.eq(byte(offset), i32.const(code));
/** Whether a byte is in the range `[first, first + span]`. */
const isWithin = (value: Code, first: number, span: number): Code =>
  i32.le_u(i32.sub(value, i32.const(first)), i32.const(span));
const isDigit = (offset: number): Code => isWithin(byte(offset), ZERO, 9);

/**
 * Advances {@link AT} to the next quote, backslash or byte that `isSpecial` selects.
 *
 *     do {
 *       text = load16(at);
 *       found = mask(text == '"' | text == '\\' | isSpecial(text));
 *       if (!found) at += 16;
 *     } while (!found);
 *     at += ctz(found);
 *     stop = *at;
 *
 * @returns the local `stop`
 */
function skipPlain(writer: FunctionWriter, isSpecial: (text: Code) => Code): number {
  const [lanes, found, stop] = [writer.local('lanes', V128), writer.local('found'), writer.local('stop')];
  const text = getLocal(lanes);
  writer.loop((again) => {
    writer.set(lanes, i8x16.load(at));
    const isQuote = i8x16.eq(text, i8x16.splat(QUOTE));
    const isBackslash = i8x16.eq(text, i8x16.splat(BACKSLASH));
    writer.set(found, i8x16.bitmask(i8x16.or(i8x16.or(isQuote, isBackslash), isSpecial(text))));
    writer.if(i32.eqz(getLocal(found)), () => {
      advance(writer, AT, i32.const(LANES));
      writer.branch(again);
    });
  });
  advance(writer, AT, i32.ctz(getLocal(found)));
  writer.set(stop, byte());
  return stop;
}

/** Selects control characters, which JSON strings must not contain. */
const isControl = (text: Code): Code => i8x16.lt_u(text, i8x16.splat(SPACE));
/** Selects control characters and non-ASCII bytes: in a signed comparison, the latter are negative. */
const isControlOrHigh = (text: Code): Code => i8x16.lt_s(text, i8x16.splat(SPACE));

/**
 *     for (;;) {
 *       stop = skipPlain(control characters);
 *       if (stop == '"') return at + 1;
 *       if (stop != '\\') return 0;
 *       if (at[1] == 'u') {
 *         if (!hex(at + 2, 4)) return 0;
 *         at += 6;
 *       } else if (at[1] is one of " \\ / b f n r t) at += 2;
 *       else return 0;
 *     }
 */
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
      const offset = i32.sub(letter, i32.const(BACKSLASH));
      const isLetter = i32.and(
        i32.lt_u(offset, i32.const(32)),
        i32.and(i32.shr_u(i32.const(ESCAPES), offset), i32.const(1)),
      );
      const isQuoteOrSlash = i32.or(i32.eq(letter, i32.const(QUOTE)), i32.eq(letter, i32.const(codeOf('/'))));
      writer.if(i32.or(isLetter, isQuoteOrSlash), () => {
        advance(writer, AT, i32.const(2));
        writer.branch(again);
      });
    });
  });
  return NOTHING;
}

/**
 *     stop = skipPlain(control characters and non-ASCII bytes);
 *     return stop == '"' ? at : 0;
 */
function ascii(_: ModuleWriter, writer: FunctionWriter): Code {
  const stop = skipPlain(writer, isControlOrHigh);
  return select(at, NOTHING, i32.eq(getLocal(stop), i32.const(QUOTE)));
}

/**
 *     start = at;
 *     if (skipPlain(control characters) != '"') return 0;
 *     if (at - start == 9 && memcmp(start, "__proto__", 9) == 0) return 0;
 *     return at + 1;
 */
function key(_: ModuleWriter, writer: FunctionWriter): Code {
  const start = writer.local('start');
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

/**
 * The number of consecutive digits, at most 16.
 *
 *     ctz(~mask(load16(at + offset) - '0' <= 9))
 */
function digits(offset = 0): Code {
  const isDigitLane = i8x16.le_u(i8x16.sub(i8x16.load(at, offset), i8x16.splat(ZERO)), i8x16.splat(9));
  return i32.ctz(i32.xor(i8x16.bitmask(isDigitLane), i32.const(-1)));
}

/**
 *     if (count == 0 || count > limit) return 0;
 */
function requireDigits(writer: FunctionWriter, count: number, limit = i32.const(MAX_DIGITS)): void {
  // One comparison: a count of 0 wraps around.
  const isInRange = i32.lt_u(i32.sub(getLocal(count), i32.const(1)), limit);
  writer.if(i32.eqz(isInRange), () => writer.return(NOTHING));
}

/**
 * Counts the digits of the integer part, which must not have a leading zero.
 *
 *     count = digits(at);
 *     if (count == 0 || count > 15 || (*at == '0' && count > 1)) return 0;
 */
function countIntegerDigits(writer: FunctionWriter, count: number): void {
  writer.set(count, digits());
  requireDigits(writer, count);
  writer.if(i32.and(isByte(ZERO), i32.gt_u(getLocal(count), i32.const(1))), () => writer.return(NOTHING));
}

/**
 * Does not consume an exponent, so the text expected next does not match.
 *
 *     at += *at == '-';
 *     count = countIntegerDigits();
 *     at += count;
 *     if (*at == '.') {
 *       count = digits(at + 1);
 *       if (count == 0 || count > 15) return 0;
 *       at += count + 1;
 *     }
 *     return at;
 */
function number(_: ModuleWriter, writer: FunctionWriter): Code {
  const count = writer.local('count');
  advance(writer, AT, isByte(MINUS));
  countIntegerDigits(writer, count);
  advance(writer, AT, getLocal(count));
  writer.if(isByte(POINT), () => {
    writer.set(count, digits(1));
    requireDigits(writer, count);
    advance(writer, AT, i32.add(getLocal(count), i32.const(1)));
  });
  return at;
}

/**
 * With at most 15 digits in total, both the digits and the power of ten are exact doubles, so their quotient is rounded
 * only once and equals the result of JSON.parse (William D. Clinger, "How to read floating point numbers accurately",
 * 1990).
 *
 *     isNegative = *at == '-';
 *     at += isNegative;
 *     count = countIntegerDigits();
 *     maxFractionDigits = 15 - count;
 *     mantissa = 0; scale = 1;
 *     do mantissa = mantissa * 10 + (*at++ - '0'); while (--count);
 *     if (*at == '.') {
 *       count = digits(at + 1);
 *       if (count == 0 || count > maxFractionDigits) return 0;
 *       at++;
 *       do { mantissa = mantissa * 10 + (*at++ - '0'); scale *= 10; } while (--count);
 *     }
 *     value = isNegative ? -(mantissa / scale) : mantissa / scale;
 *     return at;
 */
function decimal(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  const [isNegative, count] = [writer.local('isNegative'), writer.local('count')];
  const maxFractionDigits = writer.local('maxFractionDigits');
  const [mantissa, scale] = [writer.local('mantissa', I64), writer.local('scale', F64)];
  const readDigits = (left: number, onDigit: () => void): void => {
    writer.loop((again) => {
      const digit = i64.extend_i32_u(i32.sub(byte(), i32.const(ZERO)));
      writer.set(mantissa, i64.add(i64.mul(getLocal(mantissa), i64.const(10n)), digit));
      advance(writer, AT, i32.const(1));
      onDigit();
      writer.set(left, i32.sub(getLocal(left), i32.const(1)));
      writer.branchIf(again, getLocal(left));
    });
  };
  writer.set(isNegative, isByte(MINUS));
  advance(writer, AT, getLocal(isNegative));
  countIntegerDigits(writer, count);
  writer.set(scale, f64.const(1));
  writer.set(maxFractionDigits, i32.sub(i32.const(MAX_DIGITS), getLocal(count)));
  readDigits(count, () => {});
  writer.if(isByte(POINT), () => {
    writer.set(count, digits(1));
    requireDigits(writer, count, getLocal(maxFractionDigits));
    advance(writer, AT, i32.const(1));
    readDigits(count, () => writer.set(scale, f64.mul(getLocal(scale), f64.const(10))));
  });
  const value = f64.div(f64.convert_i64_s(getLocal(mantissa)), getLocal(scale));
  writer.setGlobal(scanners.value, select(f64.neg(value), value, getLocal(isNegative)));
  return at;
}

/**
 *     do {
 *       if (!('0' <= *at <= '9') && !('a' <= (*at | 0x20) <= 'f')) return 0;
 *       at++;
 *     } while (--left);
 *     return 1;
 */
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

/** The value of two decimal digits. */
const twoDigits = (offset: number): Code =>
  i32.sub(i32.add(i32.mul(byte(offset), i32.const(10)), byte(offset + 1)), i32.const(ZERO * 11));

/**
 * Whether the first `length` of 16 bytes have the form of a date and time.
 *
 *     all(load16(at) - "0000-00-00T00:00" <= { 9, 9, 9, 9, 0, 1, 9, 0, 3, 9, 0, 2, 9, 0, 5, 9 })
 */
function hasForm(length: number): Code {
  const low = [...DATE_TIME].map((character, index) => (index < length ? codeOf(character) : 0));
  const spans = DATE_TIME_SPANS.map((span, index) => (index < length ? span : 0xff));
  return i8x16.all_true(i8x16.le_u(i8x16.sub(i8x16.load(at), i8x16.const(low)), i8x16.const(spans)));
}

/**
 *     month = twoDigits(at + 5) - 1;
 *     if (month >= 12) return 0;
 *     over28 = DAYS_OVER_28 >> 2 * month & 3;
 *     century = twoDigits(at), year = twoDigits(at + 2);
 *     isLeapYear = (year != 0 ? year : century) % 4 == 0;
 *     return twoDigits(at + 8) - 1 < 28 + over28 + (isLeapYear && month == 1);
 */
function day(_: ModuleWriter, writer: FunctionWriter): Code {
  const month = writer.local('month');
  writer.set(month, i32.sub(twoDigits(5), i32.const(1)));
  writer.if(i32.eqz(i32.lt_u(getLocal(month), i32.const(12))), () => writer.return(NOTHING));
  const over28 = i32.and(
    i32.shr_u(i32.const(DAYS_OVER_28), i32.shl(getLocal(month), i32.const(1))),
    i32.const(3),
  );
  // Every fourth year is a leap year, but of the years that are divisible by 100 only every fourth.
  const [century, year] = [twoDigits(0), twoDigits(2)];
  const isLeapYear = i32.eqz(i32.and(select(year, century, year), i32.const(3)));
  const leapDay = i32.and(isLeapYear, i32.eq(getLocal(month), i32.const(1)));
  // Day 0 wraps around to a value above every limit.
  return i32.lt_u(i32.sub(twoDigits(8), i32.const(1)), i32.add(over28, i32.add(leapDay, i32.const(28))));
}

/**
 *     if (!hasForm(10) || !day(at)) return 0;
 *     return at[10] == '"' ? at + 10 : 0;
 */
function date(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  writer.if(i32.eqz(hasForm(DATE_LENGTH)), () => writer.return(NOTHING));
  writer.if(i32.eqz(scanners.day(at)), () => writer.return(NOTHING));
  const end = i32.add(at, i32.const(DATE_LENGTH));
  return select(end, NOTHING, isByte(QUOTE, DATE_LENGTH));
}

/** Whether two digits are an hour. The form alone allows up to 29, and any digits in an offset. */
const isHour = (offset: number): Code => i32.lt_u(twoDigits(offset), i32.const(24));

/**
 *     if (!hasForm(16) || twoDigits(at + 11) >= 24 || !day(at)) return 0;
 *     if (at[16] != ':' || !('0' <= at[17] <= '5') || !isDigit(at[18])) return 0;
 *     at += 19;
 *     if (*at == '.') {
 *       at++;
 *       if (!isDigit(*at)) return 0;
 *       do { count = digits(at); at += count; } while (count == 16);
 *     }
 *     if (*at == 'Z') return at[1] == '"' ? at + 1 : 0;
 *     if (*at == '"') return allowsLocal ? at : 0;
 *     if (!allowsOffset || (*at != '+' && *at != '-')) return 0;
 *     if (!isDigit(at[1]) || !isDigit(at[2]) || twoDigits(at + 1) >= 24) return 0;
 *     if (at[3] != ':' || !('0' <= at[4] <= '5') || !isDigit(at[5])) return 0;
 *     return at[6] == '"' ? at + 6 : 0;
 */
function dateTime(_: ModuleWriter, writer: FunctionWriter, scanners: Scanners): Code {
  const [allowsOffset, allowsLocal, count] = [1, 2, writer.local('count')];
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
  writer.if(isByte(QUOTE), () => writer.return(select(at, NOTHING, getLocal(allowsLocal))));
  failUnless(getLocal(allowsOffset));
  failUnless(i32.or(isByte(PLUS), isByte(MINUS)));
  failUnless(i32.and(isDigit(1), isDigit(2)));
  failUnless(isHour(1));
  failUnless(i32.and(isByte(COLON, 3), i32.and(isWithin(byte(4), ZERO, 5), isDigit(5))));
  return select(i32.add(at, i32.const(6)), NOTHING, isByte(QUOTE, 6));
}
