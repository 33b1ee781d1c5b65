// Rows as a table of text: the columns that fit, in the order of one of them.

import { printable } from '../../printable.js';

type Cell = string | number | boolean | null;

export interface Column<Row> {
  readonly title: string;
  /** The key that sorts the table by this column. */
  readonly key: string;
  /** Label of the key. */
  readonly label: string;
  /** In characters. The first column takes the remaining width, up to `maxWidth`. */
  readonly width: number;
  readonly maxWidth?: number;
  /** Columns with a high number are left out first where there is no room. 0: never left out. */
  readonly rank: number;
  readonly text: (row: Row) => string;
  /** What the table is sorted by: numbers descending, text ascending, unknown values (null) last. */
  readonly value: (row: Row) => Cell;
  readonly isText?: boolean;
}

/** The columns to show on a screen of this width. */
export function columnsThatFit<C extends Pick<Column<never>, 'rank' | 'width'>>(
  columns: readonly C[],
  width: number,
): readonly C[] {
  const ranked = columns.filter(({ rank }) => rank > 0).sort((a, b) => b.rank - a.rank);
  const leftOut = new Set<C>();
  let needed = columns.reduce((sum, one) => sum + one.width + 1, -1);
  for (const column of ranked) {
    if (needed <= width) break;
    leftOut.add(column);
    needed -= column.width + 1;
  }
  return columns.filter((one) => !leftOut.has(one));
}

/** Unknown values stay last in the reversed order. */
export function sortBy<Row>(rows: readonly Row[], { value }: Column<Row>, isReversed: boolean): Row[] {
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const order = compareCells(x, y);
    return isReversed && x !== null && y !== null ? -order : order;
  });
}

/**
 * The header and the rows.
 * @param sorted the column that is marked in the header
 * @param width available width in characters
 */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  sorted: Column<Row>,
  width: number,
): string[] {
  const shown = columnsThatFit(columns, width);
  const widths = columnWidths(shown, width);
  const line = (textOf: (column: Column<Row>) => string) =>
    shown
      .map((one, index) => cell(textOf(one), widths[index] ?? 0, one.isText === true))
      .join(' ')
      .trimEnd();
  const header = line((one) => (one === sorted ? `${one.title}*` : one.title));
  return [header, ...rows.map((row) => line(({ text }) => text(row)))];
}

function columnWidths<Row>(columns: readonly Column<Row>[], width: number): number[] {
  const [first, ...others] = columns;
  if (first === undefined) return [];
  const used = others.reduce((sum, one) => sum + one.width + 1, 0);
  const remaining = Math.min(first.maxWidth ?? first.width, Math.max(first.width, width - used));
  return [remaining, ...others.map((one) => one.width)];
}

/** Names of peers are arbitrary text. */
function cell(text: string, width: number, isText: boolean): string {
  const shown = printable(text, '?').slice(0, width);
  return isText ? shown.padEnd(width) : shown.padStart(width);
}

/** Numbers descending, text ascending, unknown values last. */
function compareCells(a: Cell, b: Cell): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return typeof a === 'string' ? a.localeCompare(String(b)) : Number(b) - Number(a);
}
