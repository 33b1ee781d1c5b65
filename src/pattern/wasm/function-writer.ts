// Writes one WebAssembly function, statement by statement. Blocks are closures, and a branch refers to a block by its
// label, so that callers need not count nesting depths.

import { ByteList } from './byte-list.js';
import { type Code, getLocal, I32, i32, unsigned, type ValueType } from './expressions.js';

/** The target of a branch: the end of a block, or the beginning of a loop. */
export interface Label {
  readonly depth: number;
}

const NO_VALUE = 0x40;

export class FunctionWriter {
  /** Names of the locals by index, parameters first. */
  readonly localNames: string[];
  readonly #code = new ByteList();
  readonly #locals: ValueType[] = [];
  #depth = 0;

  /** @param parameters names of the parameters, all of type i32; they are locals 0, 1, … */
  constructor(parameters: readonly string[]) {
    this.localNames = [...parameters];
  }

  /** Adds a local variable, initially 0, and returns its index. */
  local(name: string, type: ValueType = I32): number {
    this.#locals.push(type);
    return this.localNames.push(name) - 1;
  }

  set(local: number, value: Code): void {
    this.emit([value, 0x21, unsigned(local)]);
  }

  setGlobal(global: number, value: Code): void {
    this.emit([value, 0x24, unsigned(global)]);
  }

  /** Appends statements. */
  emit(code: Code): void {
    this.#code.add(code);
  }

  return(value: Code): void {
    this.emit([value, 0x0f]);
  }

  /** A block: branching to its label exits it. */
  block(body: (end: Label) => void): void {
    this.#nest([0x02, NO_VALUE], body);
  }

  /** A loop body: branching to its label repeats it; otherwise it ends after one pass. */
  loop(body: (again: Label) => void): void {
    this.#nest([0x03, NO_VALUE], body);
  }

  if(condition: Code, body: () => void): void {
    this.#nest([condition, 0x04, NO_VALUE], body);
  }

  branch(to: Label): void {
    this.emit([0x0c, unsigned(this.#depth - to.depth)]);
  }

  branchIf(to: Label, condition: Code): void {
    this.emit([condition, 0x0d, unsigned(this.#depth - to.depth)]);
  }

  /** Ends the function, which returns `result` at its end, and returns its encoded body. */
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
