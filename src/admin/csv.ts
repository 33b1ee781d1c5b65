// Tables as CSV (RFC 4180), to download.

import type { Reply } from './reply.js';

export type CsvCell = string | number | boolean | null;

/** What a spreadsheet would take for a formula. Names come from peers. */
const FORMULA = /^[=+\-@\t\r]/;
const SPECIAL = /[",\r\n]/;

/**
 * A reply with a table.
 * @param name of the file, without its ending
 */
export function csv<C extends string>(
  name: string,
  columns: readonly C[],
  rows: readonly Readonly<Record<C, CsvCell>>[],
): Reply {
  const lines = rows.map((row) => columns.map((column) => cellOf(row[column])).join(','));
  return {
    status: 200,
    body: `${[columns.join(','), ...lines].join('\r\n')}\r\n`,
    headers: {
      'content-type': 'text/csv; charset=utf-8; header=present',
      'content-disposition': `attachment; filename="${name}.csv"`,
    },
  };
}

function cellOf(value: CsvCell): string {
  if (typeof value !== 'string') return value === null ? '' : String(value);
  // With an apostrophe, a spreadsheet shows it as text.
  const text = FORMULA.test(value) ? `'${value}` : value;
  return SPECIAL.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
