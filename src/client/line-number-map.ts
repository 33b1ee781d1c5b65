// Which lines of a connection were published and which are the client's own words (hello, subscribe, ping), so
// that the broker's line numbers can be told as lines of what was published.

/** Lines in a row. */
interface Run {
  first: number;
  count: number;
}

export class LineNumberMap {
  /** Published lines before this connection. */
  readonly #offset: number;
  #lines = 0;
  /** The client's own lines that a rejection may still count in, in order. */
  #own: Run[] = [];
  /** The client's own lines before those. */
  #ownBefore = 0;

  /** @param offset how many published lines came before the first of this connection */
  constructor(offset: number) {
    this.#offset = offset;
  }

  /** Notes published lines. */
  addPublished(lines: number): void {
    this.#lines += lines;
  }

  /** Notes a line of the client's own. @returns its number on this connection, from 1 */
  addOwn(): number {
    const line = ++this.#lines;
    const last = this.#own.at(-1);
    // A client that publishes nothing has one run, however long it beats.
    if (last !== undefined && last.first + last.count === line) last.count++;
    else this.#own.push({ first: line, count: 1 });
    return line;
  }

  /** All rejections up to this line have come: what is needed only for them can be forgotten. */
  settle(line: number): void {
    while (this.#own[0] !== undefined && this.#own[0].first <= line) {
      const run = this.#own[0];
      const done = Math.min(run.count, line - run.first + 1);
      this.#ownBefore += done;
      run.first += done;
      run.count -= done;
      if (run.count > 0) return;
      this.#own.shift();
    }
  }

  /** The number among published lines, from 1; `undefined` for a line of the client's own. */
  publishedLine(line: number): number | undefined {
    let ownBefore = this.#ownBefore;
    for (const { first, count } of this.#own) {
      if (line < first) break;
      if (line < first + count) return undefined;
      ownBefore += count;
    }
    return this.#offset + line - ownBefore;
  }

  /** How much is remembered. */
  get runs(): number {
    return this.#own.length;
  }
}
