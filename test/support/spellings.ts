// Timestamps in all spellings that messages may contain.

const NOON = Date.UTC(2026, 0, 1, 12);
/** Noon in local time. */
const LOCAL_NOON = new Date(2026, 0, 1, 12).getTime();

/** Each spelling, the time that it denotes, and whether a pattern matches it. */
export const SPELLINGS: [text: string, time: number, isMatched: boolean][] = [
  ['2026-01-01T12:00:00Z', NOON, true],
  ['2026-01-01T12:00:00.000Z', NOON, true],
  ['2026-01-01T12:00:00.123456Z', NOON + 123, true],
  ['2026-01-01T12:00:00.123456789Z', NOON + 123, true],
  ['2026-01-01T12:00:00.123456', LOCAL_NOON + 123, true],
  ['2026-01-01T12:00:00', LOCAL_NOON, true],
  ['2026-01-01T12:00:00+00:00', NOON, true],
  ['2026-01-01T13:00:00+01:00', NOON, true],
  ['2026-01-01T06:30:00.5-05:30', NOON + 500, true],
  ['2026-01-01T12:00:00-00:00', NOON, true],
  ['2026-01-01T13:00:00+0100', NOON, false],
  ['2026-01-01T06:30:00-0530', NOON, false],
  ['2026-01-01T13:00:00+01', NOON, false],
  ['2026-01-02T11:59:00.25+23:59', NOON + 250, true],
  ['2026-01-01T12:00Z', NOON, false],
  ['2026-01-01T13:00+01:00', NOON, false],
  ['2026-01-01T12:00', LOCAL_NOON, false],
  ['2026-01-01T11:59:60Z', NOON, false],
  ['2026-01-01T11:59:60.5Z', NOON + 500, false],
  ['2026-01-01T12:59:60+01', NOON, false],
  ['2026-01-01T12:00:00,5Z', NOON + 500, false],
  ['2026-01-01T13:00:00,123456+0100', NOON + 123, false],
  ['2026-01-01t12:00:00z', NOON, false],
  ['2026-01-01T12:00:00z', NOON, false],
  ['2026-01-01t13:00:00.7+01:00', NOON + 700, false],
];
