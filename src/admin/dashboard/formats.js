// Formats numbers, sizes and times for display.

export const UNKNOWN = '–';

/** `2.5`, `1,234`, `123 k`, `1.23 M`. @param {number} value */
export function formatNumber(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e5) return `${(value / 1e3).toFixed(0)} k`;
  if (value > 0 && value < 10) return value.toFixed(1).replace(/\.0$/, '');
  return Math.round(value).toLocaleString('en-US');
}

/** `12.3 MB`. @param {number} bytes */
export function formatSize(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** `0.23 ms`, `4.1 s`. @param {number | null} ms */
export function formatLatency(ms) {
  if (ms === null) return UNKNOWN;
  if (ms === 0) return '0';
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms < 1 ? ms.toFixed(2) : ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

/** `12 s`, `3 min`, `5 h`, `2 d`. @param {number | null} ms */
export function formatAge(ms) {
  if (ms === null) return UNKNOWN;
  const seconds = ms / 1000;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** @param {number} share 0 to 1 */
export function formatShare(share) {
  return `${Math.round(share * 100)} %`;
}

/** `17:03:12`, in the time zone of the browser. @param {number} time ms since 1970 */
export function formatClock(time) {
  return new Date(time).toLocaleTimeString('en-GB');
}
