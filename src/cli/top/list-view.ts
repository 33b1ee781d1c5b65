// A list of which a part is on the screen, in the order, with the filter and at the position that keys have chosen.

import { printable } from '../../printable.js';
import { rangeText, Scroll } from './scroll.js';
import { type Column, columnsThatFit, sortBy, tableLines } from './table.js';

/** Maximum length of a filter, in characters. */
const MAX_FILTER = 64;

export class ListView<Row, C extends Column<Row> = Column<Row>> {
  readonly #columns: readonly C[];
  readonly #textsOf: (row: Row) => readonly string[];
  readonly #scroll = new Scroll();
  #sorted: C;
  #isReversed = false;
  #filter = '';
  #rows: readonly Row[] = [];
  #total = 0;
  /** The rows that match the filter, in order; undefined if something has changed since. */
  #selected: readonly Row[] | undefined;

  /**
   * @param sorted the column by which the rows are sorted at first
   * @param textsOf the texts of a row that a filter is compared with
   */
  constructor(columns: readonly C[], sorted: C, textsOf: (row: Row) => readonly string[]) {
    this.#columns = columns;
    this.#sorted = sorted;
    this.#textsOf = textsOf;
  }

  /** The column by which the rows are sorted. */
  get sorted(): C {
    return this.#sorted;
  }

  get isReversed(): boolean {
    return this.#isReversed;
  }

  /** Only rows that contain this text, in any case, are shown. */
  get filter(): string {
    return this.#filter;
  }

  /** Characters that cannot be printed, and those after the maximum length, are left out. */
  set filter(text: string) {
    this.#filter = [...printable(text, '')].slice(0, MAX_FILTER).join('');
    this.#scroll.reset();
    this.#selected = undefined;
  }

  /** Index of the first row on the screen. */
  get first(): number {
    return this.#scroll.first;
  }

  /**
   * Replaces the rows.
   * @param total number of rows in the list, of which the first ones in its order are known
   */
  update(rows: readonly Row[], total: number): void {
    this.#rows = rows;
    this.#total = total;
    this.#selected = undefined;
  }

  reverse(): void {
    this.#isReversed = !this.#isReversed;
    this.#scroll.reset();
    this.#selected = undefined;
  }

  /** Sorts by the column with this key, if it is on a screen of this width. */
  sortByKey(key: string, width: number): boolean {
    const column = columnsThatFit(this.#columns, width).find((one) => one.key === key);
    if (column === undefined) return false;
    this.#sorted = column;
    this.#scroll.reset();
    this.#selected = undefined;
    return true;
  }

  /** `n peer`, for each column on a screen of this width. */
  sortKeys(width: number): string[] {
    return columnsThatFit(this.#columns, width).map(({ key, label }) => `${key} ${label}`);
  }

  /** Moves the list if the key does that. @param page number of rows on the screen */
  scrollByKey(key: string | undefined, page: number): boolean {
    return this.#scroll.onKey(key, this.#count, page);
  }

  /** The header, the rows on the screen, and which ones they are: `21–40 of 312`. */
  lines(page: number, width: number): { table: string[]; range: string } {
    this.#scroll.clamp(this.#count, page);
    // Rows that are not known yet would leave the screen empty.
    const known = this.#select();
    const first = Math.max(0, Math.min(this.#scroll.first, known.length - page));
    const rows = known.slice(first, first + page);
    return {
      table: tableLines(this.#columns, rows, this.#sorted, width),
      range: rangeText(first, rows.length, this.#count),
    };
  }

  get #count(): number {
    return this.#filter === '' ? this.#total : this.#select().length;
  }

  #select(): readonly Row[] {
    const text = this.#filter.toLowerCase();
    const isMatch = (row: Row) => this.#textsOf(row).some((one) => one.toLowerCase().includes(text));
    this.#selected ??= sortBy(
      text === '' ? this.#rows : this.#rows.filter(isMatch),
      this.#sorted,
      this.#isReversed,
    );
    return this.#selected;
  }
}
