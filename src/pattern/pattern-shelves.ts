// Finds the patterns that a message may match by a character or two of its text: the shelf by how the message
// begins, and the place on it by the character that tells the type names apart best.

/** Text before the type's name, where that comes first: as `JSON.stringify` and as `json.dumps` write it. */
const COMPACT_HEAD = '{"type":';
const SPACED_HEAD = '{"type": ';

/** Where those two differ from each other, and from most other beginnings. */
const SECOND_LETTER = 3;
const AFTER_COLON = COMPACT_HEAD.length;
const [Y, QUOTE, SPACE] = [0x79, 0x22, 0x20];

export class PatternShelves<E> {
  /** By the code of the telling character. */
  readonly #compact: E[][] = [];
  readonly #spaced: E[][] = [];
  /** Patterns of messages that begin in other ways. */
  #others: E[] = [];
  /** The place in a type's name, its quotes included, of the character that tells it. */
  readonly #telling: number;

  /** @param names of the message types */
  constructor(names: readonly string[]) {
    this.#telling = tellingOffset(names) + 1;
  }

  /** The patterns to try on the message at `text[from]`, in this order; the caller may change it. */
  at(text: string, from: number): E[] | undefined {
    if (text.charCodeAt(from + SECOND_LETTER) === Y) {
      const next = text.charCodeAt(from + AFTER_COLON);
      if (next === QUOTE) return this.#compact[text.charCodeAt(from + COMPACT_HEAD.length + this.#telling)];
      if (next === SPACE) return this.#spaced[text.charCodeAt(from + SPACED_HEAD.length + this.#telling)];
    }
    return this.#others;
  }

  /** @param head what every message that the pattern takes begins with, up to its first value */
  add(entry: E, typeName: string, head: string): void {
    const shelf = head === COMPACT_HEAD ? this.#compact : head === SPACED_HEAD ? this.#spaced : undefined;
    if (shelf === undefined) {
      this.#others.push(entry);
      return;
    }
    const code = typeName.charCodeAt(this.#telling - 1);
    const place = shelf[code] ?? [];
    place.push(entry);
    shelf[code] = place;
  }

  remove(entry: E): void {
    const isOther = (other: E) => other !== entry;
    this.#others = this.#others.filter(isOther);
    for (const shelf of [this.#compact, this.#spaced]) {
      shelf.forEach((place, code) => {
        shelf[code] = place.filter(isOther);
      });
    }
  }
}

/** The offset into the names at which the fewest share a character. */
function tellingOffset(names: readonly string[]): number {
  let best = { offset: 0, shared: names.length };
  const shortest = Math.min(...names.map(({ length }) => length), 64);
  for (let offset = 0; offset < shortest; offset++) {
    const counts = new Map<string | undefined, number>();
    for (const name of names) counts.set(name[offset], (counts.get(name[offset]) ?? 0) + 1);
    const shared = Math.max(...counts.values());
    if (shared < best.shared) best = { offset, shared };
  }
  return best.offset;
}
