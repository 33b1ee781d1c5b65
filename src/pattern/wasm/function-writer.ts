// One WebAssembly function as it is written, statement by statement. Blocks are closures, and a branch names
// the block that it leaves, so that nobody counts depths.

import { ByteList } from './byte-list.js';
import { type Code, getLocal, I32, i32, unsigned, type ValueType } from './expressions.js';

/** A block that can be left, or a loop that can be begun again. */
export interface Label {
  readonly depth: number;
}

const NO_VALUE = 0x40;

export class FunctionWriter {
  readonly parameters: number;
  readonly #code = new ByteList();
  readonly #locals: ValueType[] = [];
  #depth = 0;

  /** @param parameters how many there are: i32, numbered from 0 */
  constructor(parameters: number) {
    this.parameters = parameters;
  }

  /** A new local variable, 0 at first. */
  local(type: ValueType = I32): number {
    this.#locals.push(type);
    return this.parameters + this.#locals.length - 1;
  }

  set(local: number, value: Code): void {
    this.emit([value, 0x21, ...unsigned(local)]);
  }

  setGlobal(global: number, value: Code): void {
    this.emit([value, 0x24, ...unsigned(global)]);
  }

  /** Adds statements. */
  emit(code: Code): void {
    this.#code.add(code);
  }

  return(value: Code): void {
    this.emit([value, 0x0f]);
  }

  /** What a branch to the label leaves. */
  block(body: (end: Label) => void): void {
    this.#nest([0x02, NO_VALUE], body);
  }

  /** What a branch to the label begins again. */
  loop(body: (again: Label) => void): void {
    this.#nest([0x03, NO_VALUE], body);
  }

  if(condition: Code, body: () => void): void {
    this.#nest([condition, 0x04, NO_VALUE], body);
  }

  branch(to: Label): void {
    this.emit([0x0c, ...unsigned(this.#depth - to.depth)]);
  }

  branchIf(to: Label, condition: Code): void {
    this.emit([condition, 0x0d, ...unsigned(this.#depth - to.depth)]);
  }

  /** The function's body, its result being the value of `result`. */
  finish(result: Code): ByteList {
    this.emit([result, 0x0b]);
    const body = new ByteList();
    body.add(unsigned(this.#locals.length));
    for (const type of this.#locals) body.add([1, type]);
    body.append(this.#code);
    return body;
  }

  #nest(begin: Code, body: (label: Label) => void): void {
    this.emit(begin);
    this.#depth++;
    body({ depth: this.#depth });
    this.#depth--;
    this.emit([0x0b]);
  }
}

/** `local += amount`. */
export function advance(writer: FunctionWriter, local: number, amount: Code): void {
  writer.set(local, i32.add(getLocal(local), amount));
}
