// Which lines of a connection were published and which are the client's own words (hello, subscribe, ping), so
// that the broker's line numbers can be told as lines of what was published.

export class LineLedger {
  /** Published lines before this connection. */
  readonly #offset: number;
  #lines = 0;
  /** Numbers of the client's own lines that a refusal may still count in, in order. */
  #own: number[] = [];
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
    this.#own.push(++this.#lines);
    return this.#lines;
  }

  /** All refusals up to this line have come: what is needed only for them can be forgotten. */
  settle(line: number): void {
    let done = 0;
    while ((this.#own[done] ?? Number.POSITIVE_INFINITY) <= line) done++;
    this.#own.splice(0, done);
    this.#ownBefore += done;
  }

  /** The number among published lines, from 1; `undefined` for a line of the client's own. */
  publishedLine(line: number): number | undefined {
    if (this.#own.includes(line)) return undefined;
    const ownBefore = this.#own.filter((own) => own < line).length + this.#ownBefore;
    return this.#offset + line - ownBefore;
  }
}
