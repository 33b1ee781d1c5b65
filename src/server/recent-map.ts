// A map of bounded size: what was not set for the longest time is forgotten first.

export class RecentMap<K, V> {
  readonly #capacity: number;
  readonly #entries = new Map<K, V>();

  /** @param capacity how many entries to keep */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#capacity) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }

  /** Changes an entry that is there, which does not count as setting it. */
  replace(key: K, value: V): void {
    if (this.#entries.has(key)) this.#entries.set(key, value);
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  /** From the one that was not set for the longest time to the latest. */
  values(): V[] {
    return [...this.#entries.values()];
  }
}
