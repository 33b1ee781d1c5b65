// Items in order, which are found by binary search.

/** Up to this number of items, each is moved to or from its place, which takes a few µs in 10,000; more are merged. */
const MAX_SINGLE = 64;

/** @typeParam T the items, of which no two are equal in the order of the list */
export class SortedList<T> {
  readonly #compare: (a: T, b: T) => number;
  #items: T[] = [];

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  get items(): readonly T[] {
    return this.#items;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  has(item: T): boolean {
    return this.#items[this.#placeOf(item)] === item;
  }

  /** The items before the first one for which a condition holds. It must hold for all after that one, too. */
  until(holds: (item: T) => boolean): T[] {
    return this.#items.slice(0, this.firstIndex(holds));
  }

  /** The index of the first item for which a condition holds, as it must for all after that one; the length if there is none. */
  firstIndex(holds: (item: T) => boolean): number {
    return firstIndex(this.#items, holds);
  }

  /** @param removed items; those that are not in the list are ignored */
  replace(removed: readonly T[], added: readonly T[]): void {
    if (removed.length + added.length > MAX_SINGLE) {
      const gone = new Set(removed);
      // Two sorted lists in a row are sorted in linear time.
      const left = this.#items.filter((item) => !gone.has(item));
      this.#items = [...left, ...added.toSorted(this.#compare)].sort(this.#compare);
      return;
    }
    for (const item of removed) {
      const place = this.#placeOf(item);
      if (this.#items[place] === item) this.#items.splice(place, 1);
    }
    for (const item of added) this.#items.splice(this.#placeOf(item), 0, item);
  }

  #placeOf(item: T): number {
    return this.firstIndex((other) => this.#compare(other, item) >= 0);
  }
}

/** The index from which on a condition holds, as it does for no item before; the length if it does for none. */
export function firstIndex<T>(items: readonly T[], holds: (item: T) => boolean): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(items[middle] as T)) high = middle;
    else low = middle + 1;
  }
  return low;
}
