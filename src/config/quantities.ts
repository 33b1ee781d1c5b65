// Sizes and times as users write them: a plain number of bytes or ms, or a number with a unit (`64k`, `10s`).

import * as z from 'zod';

/** Units of sizes. All are powers of 1024: `1k`, `1kB` and `1KiB` are 1024 bytes. */
export type SizeUnit = 'B' | 'k' | 'kB' | 'KiB' | 'M' | 'MB' | 'MiB' | 'G' | 'GB' | 'GiB';
/** Units of times: `m` is a minute, `d` a day of 24 hours. */
export type TimeUnit = 'ms' | 's' | 'm' | 'h' | 'd';

/** A size in bytes: a number, or text such as `64k`, `1.5M` or `256MiB`. The case of its unit does not matter. */
export type Size = number | `${number}${SizeUnit}`;
/** A time in ms: a number, or text such as `500ms`, `10s` or `1.5h`. */
export type Time = number | `${number}${TimeUnit}`;

const [KiB, MiB, GiB] = [1024, 1024 ** 2, 1024 ** 3];
/** Bytes per unit, in lower case. */
const SIZE_UNITS = new Map(
  Object.entries({
    b: 1,
    ...{ k: KiB, kb: KiB, kib: KiB },
    ...{ m: MiB, mb: MiB, mib: MiB },
    ...{ g: GiB, gb: GiB, gib: GiB },
  }),
);
/** ms per unit. */
const TIME_UNITS = new Map(Object.entries({ ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }));

const WITH_UNIT = /^([-+]?\d+)(?:\.(\d{1,9}))?\s?([a-z]+)$/i;

/** The schema of an option in bytes. */
export function size(min: number, max: number): z.ZodType<number, Size> {
  const parse = (text: string) => parseQuantity(text, (unit) => SIZE_UNITS.get(unit.toLowerCase()));
  return quantity<Size>('size', 'a size in bytes, or with a unit such as 64k, 256M or 1GiB', parse, min, max);
}

/** The schema of an option in ms. */
export function time(min: number, max: number): z.ZodType<number, Time> {
  const parse = (text: string) => parseQuantity(text, (unit) => TIME_UNITS.get(unit));
  return quantity<Time>('time', 'a time in ms, or with a unit such as 500ms, 10s or 2m', parse, min, max);
}

/**
 * @param kind for the metadata of the schema, in `kind`
 * @param expected for the error message
 */
function quantity<Input extends number | string>(
  kind: 'size' | 'time',
  expected: string,
  parse: (text: string) => number | undefined,
  min: number,
  max: number,
): z.ZodType<number, Input> {
  const schema = z.preprocess(
    (value, context) => {
      const number = typeof value === 'string' ? parse(value) : value;
      if (number !== undefined || value === undefined) return number;
      context.addIssue({ code: 'custom', message: `expected ${expected}`, input: value });
      return z.NEVER;
    },
    z
      .number({ error: ({ code }) => (code === 'invalid_type' ? `expected ${expected}` : undefined) })
      .int({ error: 'must be a whole number' })
      .min(min)
      .max(max),
  );
  // Preprocessing accepts any input as far as zod's types go.
  return schema.meta({ kind }) as z.ZodType<number, Input>;
}

/**
 * @param factorOf returns the factor of a unit, or `undefined` if there is no such unit
 * @returns `undefined` if the text is not a number with or without a unit
 */
function parseQuantity(text: string, factorOf: (unit: string) => number | undefined): number | undefined {
  const trimmed = text.trim();
  if (trimmed !== '' && Number.isFinite(Number(trimmed))) return Number(trimmed);
  const [, whole, fraction = '', unit = ''] = WITH_UNIT.exec(trimmed) ?? [];
  const factor = factorOf(unit);
  if (whole === undefined || factor === undefined) return undefined;
  // Exact, unlike 1.1 * 1000.
  return (Number(whole + fraction) * factor) / 10 ** fraction.length;
}
