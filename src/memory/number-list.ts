// A growable Uint32Array: appending allocates nothing once it has reached its working size.

const INITIAL_CAPACITY = 1024;

/** The numbers as a plain array. */
export function plainNumbers(values: Uint32Array): number[] {
  const array: number[] = [];
  for (let index = 0; index < values.length; index++) array.push(values[index] ?? 0);
  return array;
}

export class NumberList {
  #values = new Uint32Array(INITIAL_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    this.#reserve(1);
    this.#values[this.#length++] = value;
  }

  push3(a: number, b: number, c: number): void {
    this.#reserve(3);
    this.#values[this.#length++] = a;
    this.#values[this.#length++] = b;
    this.#values[this.#length++] = c;
  }

  push4(a: number, b: number, c: number, d: number): void {
    this.#reserve(4);
    this.#values[this.#length++] = a;
    this.#values[this.#length++] = b;
    this.#values[this.#length++] = c;
    this.#values[this.#length++] = d;
  }

  /** Appends `values[from, to)`. */
  append(values: Uint32Array, from: number, to: number): void {
    this.#reserve(to - from);
    this.#values.set(values.subarray(from, to), this.#length);
    this.#length += to - from;
  }

  /** Appends numbers with undefined content, to be {@link set}. @returns the index of the first */
  extend(count: number): number {
    this.#reserve(count);
    this.#length += count;
    return this.#length - count;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }

  /** The values, until the next change. */
  get values(): Uint32Array {
    return this.#values.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#values.length) return;
    const larger = new Uint32Array(Math.max(this.#values.length * 2, this.#length + count));
    larger.set(this.#values);
    this.#values = larger;
  }
}
