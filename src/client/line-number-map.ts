// Distinguishes the published lines of a connection from the client's own (hello, subscribe, ping), to convert the
// broker's line numbers into numbers of published lines.

/** Consecutive lines. */
interface Run {
  first: number;
  count: number;
}

export class LineNumberMap {
  /** Number of lines published on earlier connections. */
  #offset: number;
  #lines = 0;
  /** The client's own lines that may precede a line still to be rejected, in order. */
  #own: Run[] = [];
  /** Number of the client's own lines before those. */
  #ownBefore = 0;

  /** @param offset number of lines published on earlier connections */
  constructor(offset: number) {
    this.#offset = offset;
  }

  /** Records lines that were published on earlier connections. */
  skipPublished(lines: number): void {
    this.#offset += lines;
  }

  /** Records published lines. */
  addPublished(lines: number): void {
    this.#lines += lines;
  }

  /** Records one of the client's own lines. @returns its number on this connection, from 1 */
  addOwn(): number {
    const line = ++this.#lines;
    const last = this.#own.at(-1);
    // A client that only sends heartbeats keeps a single run.
    if (last !== undefined && last.first + last.count === line) last.count++;
    else this.#own.push({ first: line, count: 1 });
    return line;
  }

  /** All rejections up to this line have arrived: discards the runs that only they need. */
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

  /** The number among published lines, from 1; `undefined` for one of the client's own lines. */
  publishedLine(line: number): number | undefined {
    let ownBefore = this.#ownBefore;
    for (const { first, count } of this.#own) {
      if (line < first) break;
      if (line < first + count) return undefined;
      ownBefore += count;
    }
    return this.#offset + line - ownBefore;
  }

  /** Number of runs in memory. */
  get runs(): number {
    return this.#own.length;
  }
}
