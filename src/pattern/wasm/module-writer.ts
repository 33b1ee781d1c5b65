// Assembles functions into a WebAssembly module. All functions have i32 parameters and one i32 result, and share an
// imported memory. Sections: WebAssembly Core Specification 2.0, section 5.5.

import { ByteList } from './byte-list.js';
import { type Code, I32, unsigned } from './expressions.js';
import { FunctionWriter } from './function-writer.js';

const MAGIC = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const SECTION = { TYPE: 1, IMPORT: 2, FUNCTION: 3, GLOBAL: 6, EXPORT: 7, CODE: 10 } as const;
const KIND = { FUNCTION: 0, TABLE: 1, MEMORY: 2 } as const;
const FUNCTION_TYPE = 0x60;
const FUNCTION_REFERENCE = 0x70;
const NO_LIMIT = 0x00;

interface FunctionEntry {
  readonly parameters: number;
  body: ByteList;
}

export class ModuleWriter {
  readonly #imports: Code[] = [];
  readonly #importedFunctions: number[] = [];
  readonly #functions: FunctionEntry[] = [];
  readonly #globals: Code[] = [];
  readonly #exports: Code[] = [];

  constructor() {
    this.#imports.push([...name('env'), ...name('memory'), KIND.MEMORY, NO_LIMIT, 1]);
  }

  /** Imports the function table for `callIndirect`. */
  importTable(): void {
    this.#imports.push([...name('env'), ...name('table'), KIND.TABLE, FUNCTION_REFERENCE, NO_LIMIT, 0]);
  }

  /** Imports a function. Must precede all calls of {@link add}. @returns its index, for `call` */
  importFunction(field: string, parameters: number): number {
    this.#imports.push([...name('env'), ...name(field), KIND.FUNCTION, ...unsigned(parameters)]);
    return this.#importedFunctions.push(parameters) - 1;
  }

  /** Adds a mutable global. @param initial a constant expression @returns its index */
  global(type: number, initial: Code): number {
    return this.#globals.push([type, 1, ...initial, 0x0b]) - 1;
  }

  /**
   * Adds a function.
   * @param parameters number of parameters
   * @param write writes the body and returns the function's result
   * @param exportedAs name of the export. If omitted, the function is not exported.
   * @returns its index, for `call`
   */
  add(parameters: number, write: (writer: FunctionWriter) => Code, exportedAs?: string): number {
    const entry: FunctionEntry = { parameters, body: new ByteList() };
    const index = this.#importedFunctions.length + this.#functions.push(entry) - 1;
    const writer = new FunctionWriter(parameters);
    entry.body = writer.finish(write(writer));
    if (exportedAs !== undefined) {
      this.#exports.push([...name(exportedAs), KIND.FUNCTION, ...unsigned(index)]);
    }
    return index;
  }

  /** Index of the type of functions with this many parameters, for `callIndirect`. Types are indexed by that number. */
  typeOf(parameters: number): number {
    return parameters;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const maxParameters = Math.max(
      0,
      ...this.#importedFunctions,
      ...this.#functions.map((f) => f.parameters),
    );
    const types = Array.from({ length: maxParameters + 1 }, (_, count) => [
      FUNCTION_TYPE,
      ...vector(new Array<Code>(count).fill([I32])),
      ...vector([[I32]]),
    ]);
    const all = new ByteList();
    all.add(MAGIC);
    addSection(all, SECTION.TYPE, types);
    addSection(all, SECTION.IMPORT, this.#imports);
    const functionTypes = this.#functions.map(({ parameters }) => unsigned(this.typeOf(parameters)));
    addSection(all, SECTION.FUNCTION, functionTypes);
    addSection(all, SECTION.GLOBAL, this.#globals);
    addSection(all, SECTION.EXPORT, this.#exports);
    const code = new ByteList();
    code.add(unsigned(this.#functions.length));
    for (const { body } of this.#functions) {
      code.add(unsigned(body.length));
      code.append(body);
    }
    all.add([SECTION.CODE, ...unsigned(code.length)]);
    all.append(code);
    return all.bytes;
  }
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items];
}

function addSection(all: ByteList, id: number, items: readonly Code[]): void {
  if (items.length === 0) return;
  const content = new ByteList();
  content.add(vector(items));
  all.add([id, ...unsigned(content.length)]);
  all.append(content);
}

function name(text: string): Code {
  return vector([...Buffer.from(text)].map((byte) => [byte]));
}
