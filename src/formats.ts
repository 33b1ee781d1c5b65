// Numbers, sizes and times as people read them: in the command line and in the dashboard, which loads this file in the
// browser.

export const UNKNOWN = '–';

/** Formats a value in the unit in which it is less than 1000. @param format for all units but the first */
function inUnits(value: number, units: readonly string[], format: (value: number) => string): string {
  let scaled = value;
  let unit = 0;
  // Before rounding would make it 1000 of a unit.
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(scaled) : format(scaled)} ${units[unit]}`;
}

/** `1,234,567`. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `2.5`, `9,999`, `12.3 k`, `1.23 M`: 7 characters at most. */
export function formatShort(value: number): string {
  if (value > 0 && value < 10) return value.toFixed(1).replace(/\.0$/, '');
  if (Math.round(value) < 10_000) return formatCount(value);
  return inUnits(value, ['', 'k', 'M', 'G', 'T', 'P'], (scaled) => scaled.toPrecision(3));
}

/** `12.3 MB`: 8 characters at most. */
export function formatBytes(bytes: number): string {
  return inUnits(bytes, ['B', 'kB', 'MB', 'GB', 'TB'], (scaled) => scaled.toFixed(1));
}

/** `0.23 ms`, `4.1 ms`, `170 ms`, `4.1 s`. @param ms `null` if it is unknown */
export function formatLatency(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  if (ms >= 100_000) return formatAge(ms);
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms === 0 || ms >= 10) return `${ms.toFixed(0)} ms`;
  return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
}

/** `12 s`, `3 min`, `5 h`, `2 d`. @param ms `null` if it is unknown */
export function formatAge(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  const seconds = ms / 1000;
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 360_000) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `17 %`. @param share 0 to 1 */
export function formatShare(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** `17:03:12`, in the local time zone. @param time ms since 1970 */
export function formatClock(time: number): string {
  return new Date(time).toLocaleTimeString('en-GB');
}
