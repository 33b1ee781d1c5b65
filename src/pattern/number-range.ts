// Numbers between bounds, as regular expressions over their digits. Takes some of the numbers of the range,
// never one outside it: text is compared, so nothing that rounding could carry over a bound is taken.

import { NUMBER } from './fragments.js';

export interface NumberRange {
  readonly isInteger: boolean;
  readonly min: number;
  readonly max: number;
  /** Whether the bound itself is outside. */
  readonly minExcluded: boolean;
  readonly maxExcluded: boolean;
}

export const ANY_NUMBER: NumberRange = {
  isInteger: false,
  min: Number.NEGATIVE_INFINITY,
  max: Number.POSITIVE_INFINITY,
  minExcluded: false,
  maxExcluded: false,
};

/** The largest whole number of 15 digits: all up to it are exact. */
const LARGEST = 999_999_999_999_999;
const ANY_FRACTION = String.raw`(?:\.\d{1,15})?`;
const ZERO_FRACTION = String.raw`(?:\.0{1,15})?`;

/** A range that allows what both allow. */
export function intersect(a: NumberRange, b: Partial<NumberRange>): NumberRange {
  const { isInteger = false, min = a.min, max = a.max, minExcluded = false, maxExcluded = false } = b;
  return {
    isInteger: a.isInteger || isInteger,
    ...(min > a.min || (min === a.min && minExcluded)
      ? { min, minExcluded }
      : { min: a.min, minExcluded: a.minExcluded }),
    ...(max < a.max || (max === a.max && maxExcluded)
      ? { max, maxExcluded }
      : { max: a.max, maxExcluded: a.maxExcluded }),
  };
}

/** The fragment that takes the numbers of a range; `undefined` where there is none to take. */
export function numberFragment(range: NumberRange): string | undefined {
  if (range.min < -LARGEST && range.max > LARGEST && !range.isInteger) return NUMBER;
  const negated = {
    isInteger: range.isInteger,
    min: -range.max,
    max: -range.min,
    minExcluded: range.maxExcluded,
    maxExcluded: range.minExcluded,
  };
  const positive = magnitudes(range);
  const negative = range.min < 0 ? magnitudes(negated) : [];
  if (positive.length === 0 && negative.length === 0) return undefined;
  if (positive.join() === negative.join()) return `-?(?:${positive.join('|')})`;
  return `(?:${[...positive, ...negative.map((part) => `-(?:${part})`)].join('|')})`;
}

/** Alternatives that take the numbers of the range that are not below 0. */
function magnitudes({ isInteger, min, max, minExcluded, maxExcluded }: NumberRange): string[] {
  if (max < 0 || (max === 0 && maxExcluded)) return [];
  if (isInteger) {
    const first = minExcluded ? Math.floor(min) + 1 : Math.ceil(min);
    const last = maxExcluded ? Math.ceil(max) - 1 : Math.floor(max);
    return naturals(Math.max(0, first), Math.min(LARGEST, last));
  }
  // Whole parts after which any fraction is in the range; then those where the fraction decides.
  const first = min < 0 ? 0 : minExcluded ? Math.floor(min) + 1 : Math.ceil(min);
  const whole = Math.floor(max);
  const last = Math.min(LARGEST, whole - (whole === max && maxExcluded ? 2 : 1));
  const parts = naturals(first, last).map((digits) => digits + ANY_FRACTION);
  if (minExcluded && Number.isInteger(min) && min >= 0 && min <= last) parts.push(min + fractionAbove(min));
  if (whole <= LARGEST && whole >= first) {
    if (whole < max) parts.push(whole + fractionBelow(max, maxExcluded));
    else if (!maxExcluded) parts.push(whole + ZERO_FRACTION);
    else if (whole - 1 >= first) parts.push(String.raw`${whole - 1}(?:\.[0-8]\d{0,14})?`);
  }
  return parts;
}

/** Fractions that are not 0, however their number is rounded. */
function fractionAbove(whole: number): string {
  return whole === 0 ? String.raw`\.0{0,14}[1-9]\d{0,14}` : String.raw`\.[1-9]\d{0,14}`;
}

/** Fractions that end below that of `max`: told by the first digit. */
function fractionBelow(max: number, isExcluded: boolean): string {
  const digit = Number(/\.(\d)/.exec(String(max))?.[1] ?? 0);
  return digit === 0 || isExcluded ? ZERO_FRACTION : String.raw`(?:\.[0-${digit - 1}]\d{0,14})?`;
}

/** Alternatives that take the whole numbers from `first` to `last`, without leading zeros. */
function naturals(first: number, last: number): string[] {
  if (last < first) return [];
  const parts: string[] = [];
  const [shortest, longest] = [String(first).length, String(last).length];
  if (first === 0 && longest > 1) return ['0', ...naturals(1, last)];
  for (let digits = shortest; digits <= longest; digits++) {
    const from = digits === shortest ? String(first) : `1${'0'.repeat(digits - 1)}`;
    const to = digits === longest ? String(last) : '9'.repeat(digits);
    const isWhole = from === `1${'0'.repeat(digits - 1)}` && to === '9'.repeat(digits);
    if (!isWhole) {
      parts.push(...sameLength(from, to));
      continue;
    }
    let most = digits;
    while (most < longest - 1 || (most === longest - 1 && /^9+$/.test(String(last)))) most++;
    parts.push(most === 1 ? '[1-9]' : String.raw`[1-9]\d{${digits - 1},${most - 1}}`);
    digits = most;
  }
  return parts;
}

/** Alternatives that take the numbers between two of the same length. */
function sameLength(from: string, to: string): string[] {
  if (from === to) return [from];
  const rest = from.length - 1;
  const [low, high] = [Number(from[0]), Number(to[0])];
  if (low === high) return sameLength(from.slice(1), to.slice(1)).map((tail) => low + tail);
  const isFromZeros = /^0*$/.test(from.slice(1));
  const isToNines = /^9*$/.test(to.slice(1));
  const [first, last] = [isFromZeros ? low : low + 1, isToNines ? high : high - 1];
  const middle = first > last ? [] : [`[${first}-${last}]${rest === 0 ? '' : String.raw`\d{${rest}}`}`];
  return [
    ...(isFromZeros ? [] : sameLength(from.slice(1), '9'.repeat(rest)).map((tail) => low + tail)),
    ...middle,
    ...(isToNines ? [] : sameLength('0'.repeat(rest), to.slice(1)).map((tail) => high + tail)),
  ];
}
