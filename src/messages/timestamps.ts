// Timestamps: ISO 8601 dates and times in the spellings of the common libraries.
//
//   2026-01-01T12:00:00.123456+01:00
//             │     │   │      └ Z, z, +hh:mm, +hhmm, +hh, or nothing: local time
//             │     │   └ any number of digits, after a point or a comma
//             │     └ may be missing; 60 is a leap second
//             └ or t
//
// Dates must exist, and hours end at 23, as in RFC 3339: midnight is 00:00 of the next day, never 24:00.

/** Matches a timestamp. The date is 29 February of a leap year, or a day that every year has. */
export const TIMESTAMP =
  /^(?:(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29|\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8])))[Tt](?:[01]\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:[.,]\d+)?)?(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?$/;

/** The parts of a timestamp that is known to match {@link TIMESTAMP}. */
const PARTS =
  /^(?<date>\d{4}-\d\d-\d\d)[Tt](?<minute>\d\d:\d\d)(?::(?<second>\d\d)(?:[.,](?<fraction>\d+))?)?(?:(?<utc>[Zz])|(?<hours>[+-]\d\d):?(?<minutes>\d\d)?)?$/;

/**
 * The time that a timestamp denotes, in ms since 1970. Without an offset, it is local time, as in ECMAScript. `Date.parse`
 * alone does not suffice: it rejects or misreads some of the spellings.
 * @returns for any other text, what `Date.parse` returns, which is NaN if the text is not a time
 */
export function parseTimestamp(text: string): number {
  const parts = TIMESTAMP.test(text) ? PARTS.exec(text)?.groups : undefined;
  if (parts === undefined) return Date.parse(text);
  const { date, minute, second = '00', fraction = '', utc, hours, minutes = '00' } = parts;
  const isLeapSecond = second === '60';
  const milliseconds = `${fraction}000`.slice(0, 3);
  const zone = utc === undefined ? '' : 'Z';
  const offset = hours === undefined ? zone : `${hours}:${minutes}`;
  const time = Date.parse(`${date}T${minute}:${isLeapSecond ? '59' : second}.${milliseconds}${offset}`);
  return isLeapSecond ? time + 1000 : time;
}
