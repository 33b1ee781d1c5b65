// How the lines of a screen are divided.

export interface ScreenSize {
  readonly columns: number;
  readonly lines: number;
}

export interface Layout {
  /** Number of lines of the summary. */
  readonly summary: number;
  /** Number of table rows. */
  readonly rows: number;
  /** Whether there is room for empty lines between the parts, and for the sort keys. */
  readonly isSpacious: boolean;
}

/** From this height on, in lines. */
const SPACIOUS = 16;
/** The table header, the range, and the keys; then two empty lines, and the sort keys. */
const FIXED_LINES = 3;
const SPACIOUS_LINES = 3;
/** The summary is cut to leave room for this many rows, but never to less than one line. */
const MIN_ROWS = 4;

/** @param summaryLines number of lines that the summary has */
export function layoutOf(lines: number, summaryLines: number): Layout {
  const isSpacious = lines >= SPACIOUS;
  const available = lines - FIXED_LINES - (isSpacious ? SPACIOUS_LINES : 0);
  const summary = Math.min(summaryLines, Math.max(1, available - MIN_ROWS));
  return { summary, rows: Math.max(0, available - summary), isSpacious };
}
