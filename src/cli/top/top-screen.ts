// What `sluice top` shows, and what its keys do: the state between the keys and the lines, without a terminal.

import type { BrokerStats, ConnectionList, ConnectionRow, SortColumn } from '../../admin/snapshot.js';
import { formatCount } from '../../formats.js';
import {
  CONNECTION_COLUMNS,
  CONNECTION_RATE,
  type ConnectionColumn,
  connectionTexts,
} from './connection-table.js';
import { helpLines } from './help.js';
import { type Layout, layoutOf, type ScreenSize } from './layout.js';
import { ListView } from './list-view.js';
import { rangeText, Scroll } from './scroll.js';
import { TYPE_COLUMNS, TYPE_RATE, type TypeRow, typeRows } from './type-table.js';

/** What the broker has answered; without statistics and connections while it is starting. */
export interface TopData {
  readonly isReady: boolean;
  readonly summary: readonly string[];
  readonly stats?: BrokerStats | undefined;
  readonly list?: ConnectionList | undefined;
  /** The column by which the connections were sorted before they were cut to the limit. */
  readonly sort: SortColumn;
}

/** The part of a request for connections that depends on the screen. */
export interface ConnectionQuery {
  readonly sort: SortColumn;
  readonly limit: number;
}

/** A key, as `node:readline` reports it. */
export interface Key {
  readonly name?: string | undefined;
  readonly ctrl?: boolean | undefined;
  readonly meta?: boolean | undefined;
}

/** Maximum of `limit` in `/api/connections`. */
const MAX_ROWS = 10_000;
/** As many as fit are shown in the last line. */
const FOOTER_KEYS = ['q quit', '? help', '/ filter', 't types', 'r reverse', 'space pause'];

export class TopScreen {
  readonly #connections = new ListView<ConnectionRow, ConnectionColumn>(
    CONNECTION_COLUMNS,
    CONNECTION_RATE,
    connectionTexts,
  );
  readonly #types = new ListView<TypeRow>(TYPE_COLUMNS, TYPE_RATE, ({ type }) => [type]);
  readonly #helpScroll = new Scroll();
  #data: TopData = { isReady: false, summary: [], sort: CONNECTION_RATE.sort };
  #areTypesShown = false;
  #isHelpShown = false;
  /** Whether characters are appended to the filter. */
  #isTyping = false;
  #isPaused = false;

  get data(): TopData {
    return this.#data;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  update(data: TopData): void {
    this.#data = data;
    const { stats, list } = data;
    if (list !== undefined) this.#connections.update(list.rows, Math.min(list.total, MAX_ROWS));
    if (stats === undefined) return;
    const types = typeRows(stats);
    this.#types.update(types, types.length);
  }

  /**
   * The connections to request: those on the screen and the next page, or all of them if the first ones in this order do
   * not suffice.
   */
  query(size: ScreenSize): ConnectionQuery {
    const { filter, isReversed, first, sorted } = this.#connections;
    const needsAll = filter !== '' || isReversed || this.#isPaused;
    const limit = needsAll ? MAX_ROWS : first + 2 * Math.max(1, this.#layout(size).rows);
    return { sort: sorted.sort, limit: Math.min(limit, MAX_ROWS) };
  }

  /** Whether connections that belong on the screen were not part of the answer. */
  isIncomplete(size: ScreenSize): boolean {
    const { list } = this.#data;
    if (list === undefined || list.rows.length >= Math.min(list.total, MAX_ROWS)) return false;
    const { sort, limit } = this.query(size);
    return sort !== this.#data.sort || limit > list.rows.length;
  }

  /** @returns whether the key ends the view */
  onKey(text: string | undefined, key: Key, size: ScreenSize): boolean {
    // Ctrl-C and Ctrl-D are received as characters while the terminal is in raw mode.
    if (key.ctrl === true) return key.name === 'c' || key.name === 'd';
    if (key.meta === true && key.name !== 'escape') {
      // Escape, and then another key before readline has decided that they do not belong together.
      this.#onEscape();
      return this.onKey(text ?? key.name, { name: key.name }, size);
    }
    if (key.name === 'escape') this.#onEscape();
    else if (this.#isTyping) this.#onTyped(text, key.name);
    else if (text === 'q') return true;
    else if (text === '?' || text === 'h') this.#toggleHelp();
    else if (this.#isHelpShown)
      this.#helpScroll.onKey(key.name, this.#helpLines(size).length, helpPage(size));
    else this.#onListKey(text ?? '', key.name, size);
    return false;
  }

  /** The lines of the screen, at most as many and as wide as its size. */
  frame(size: ScreenSize): string[] {
    const lines = this.#isHelpShown ? this.#helpFrame(size) : this.#listFrame(size);
    return lines.slice(-size.lines).map((line) => line.slice(0, size.columns));
  }

  get #view() {
    return this.#areTypesShown ? this.#types : this.#connections;
  }

  #layout({ lines }: ScreenSize): Layout {
    return layoutOf(lines, this.#data.summary.length);
  }

  #onEscape(): void {
    if (this.#isHelpShown) this.#isHelpShown = false;
    else {
      this.#isTyping = false;
      this.#view.filter = '';
    }
  }

  #onTyped(text: string | undefined, name: string | undefined): void {
    if (name === 'return' || name === 'enter') this.#isTyping = false;
    else if (name === 'backspace') this.#view.filter = [...this.#view.filter].slice(0, -1).join('');
    else if (text !== undefined) this.#view.filter += text;
  }

  #toggleHelp(): void {
    this.#isHelpShown = !this.#isHelpShown;
    this.#helpScroll.reset();
  }

  #onListKey(text: string, name: string | undefined, size: ScreenSize): void {
    const view = this.#view;
    if (view.scrollByKey(name, this.#layout(size).rows)) return;
    if (text === '/') this.#isTyping = true;
    else if (text === 't') this.#areTypesShown = !this.#areTypesShown;
    else if (text === 'r') view.reverse();
    else if (text === ' ') this.#isPaused = !this.#isPaused;
    else view.sortByKey(text, size.columns);
  }

  #listFrame(size: ScreenSize): string[] {
    const { summary, list } = this.#data;
    const layout = this.#layout(size);
    const gap = layout.isSpacious ? [''] : [];
    const sortKeys = layout.isSpacious ? [`sort by ${this.#view.sortKeys(size.columns).join(' ')}`] : [];
    const footer = [...gap, ...sortKeys, this.#footer(size.columns)];
    if (list === undefined) return [...summary, ...footer];
    const { table, range } = this.#view.lines(layout.rows, size.columns);
    const padding = Array<string>(layout.rows + 1 - table.length).fill('');
    const status = this.#status(range, list.total);
    return [...summary.slice(0, layout.summary), ...gap, ...table, ...padding, status, ...footer];
  }

  /** `21–40 of 312, reversed, filter: abc`. */
  #status(range: string, total: number): string {
    const { isReversed, filter } = this.#view;
    return [
      range,
      ...(!this.#areTypesShown && total > MAX_ROWS ? [`${formatCount(total)} connections`] : []),
      ...(this.#isPaused ? ['paused'] : []),
      ...(isReversed ? ['reversed'] : []),
      ...(filter !== '' && !this.#isTyping ? [`filter: ${filter}`] : []),
    ].join(', ');
  }

  #footer(width: number): string {
    if (this.#isTyping) {
      const hint = ' (Enter keeps it, Escape clears it)';
      const text = `filter: ${this.#view.filter}_`;
      // The end of the filter is where characters are typed.
      return text.length + hint.length <= width ? text + hint : text.slice(-width);
    }
    return textThatFits(FOOTER_KEYS, width);
  }

  #helpLines({ columns }: ScreenSize): string[] {
    return helpLines(this.#view.sortKeys(columns));
  }

  #helpFrame(size: ScreenSize): string[] {
    const page = helpPage(size);
    const lines = this.#helpLines(size);
    this.#helpScroll.clamp(lines.length, page);
    const { first } = this.#helpScroll;
    const shown = lines.slice(first, first + page);
    return [...shown, rangeText(first, shown.length, lines.length), 'Escape back, q quit'];
  }
}

/** Number of lines of the help on the screen. */
function helpPage({ lines }: ScreenSize): number {
  return Math.max(1, lines - 2);
}

/** The first texts, as many as fit. */
function textThatFits(texts: readonly string[], width: number): string {
  let line = '';
  for (const text of texts) {
    const longer = line === '' ? text : `${line}  ${text}`;
    if (longer.length > width) break;
    line = longer;
  }
  return line;
}
