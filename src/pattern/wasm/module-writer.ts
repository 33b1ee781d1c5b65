// Assembles functions into a WebAssembly module. All functions have i32 parameters and one i32 result, and share an
// imported memory. Sections: WebAssembly Core Specification 2.0, section 5.5; the name section: 7.4.1.

import { ByteList } from './byte-list.js';
import { type Code, I32, unsigned } from './expressions.js';
import { FunctionWriter } from './function-writer.js';

const MAGIC = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const SECTION = { CUSTOM: 0, TYPE: 1, IMPORT: 2, FUNCTION: 3, GLOBAL: 6, EXPORT: 7, CODE: 10 } as const;
/** Parts of the name section. Names of globals are an extension of the specification, which tools read. */
const NAMES = { MODULE: 0, FUNCTION: 1, LOCAL: 2, GLOBAL: 7 } as const;
const KIND = { FUNCTION: 0, TABLE: 1, MEMORY: 2 } as const;
const FUNCTION_TYPE = 0x60;
const FUNCTION_REFERENCE = 0x70;
const NO_LIMIT = 0x00;

interface ImportedFunction {
  readonly name: string;
  readonly parameters: number;
}

interface FunctionEntry {
  readonly name: string;
  readonly parameters: number;
  localNames: readonly string[];
  body: ByteList;
}

export class ModuleWriter {
  readonly #name: string;
  readonly #imports: Code[] = [];
  readonly #importedFunctions: ImportedFunction[] = [];
  readonly #functions: FunctionEntry[] = [];
  readonly #globals: Code[] = [];
  readonly #globalNames: string[] = [];
  readonly #exports: Code[] = [];

  constructor(moduleName: string) {
    this.#name = moduleName;
    this.#imports.push([name('env'), name('memory'), KIND.MEMORY, NO_LIMIT, 1]);
  }

  /** Imports the function table for `callIndirect`. */
  importTable(): void {
    this.#imports.push([name('env'), name('table'), KIND.TABLE, FUNCTION_REFERENCE, NO_LIMIT, 0]);
  }

  /** Imports a function. Must precede all calls of {@link add}. @returns its index, for `call` */
  importFunction(field: string, parameters: number): number {
    this.#imports.push([name('env'), name(field), KIND.FUNCTION, unsigned(parameters)]);
    return this.#importedFunctions.push({ name: field, parameters }) - 1;
  }

  /** Adds a mutable global. @param initial a constant expression @returns its index */
  global(globalName: string, type: number, initial: Code): number {
    this.#globalNames.push(globalName);
    return this.#globals.push([type, 1, initial, 0x0b]) - 1;
  }

  /**
   * Adds a function.
   * @param parameters names of the parameters
   * @param write writes the body and returns the function's result
   * @returns its index, for `call`
   */
  add(functionName: string, parameters: readonly string[], write: (writer: FunctionWriter) => Code): number {
    const entry: FunctionEntry = {
      name: functionName,
      parameters: parameters.length,
      localNames: [],
      body: new ByteList(),
    };
    const index = this.#importedFunctions.length + this.#functions.push(entry) - 1;
    const writer = new FunctionWriter(parameters);
    entry.body = writer.finish(write(writer));
    entry.localNames = writer.localNames;
    return index;
  }

  /** Exports a function under its name. @param index as {@link add} returned it */
  export(index: number): void {
    const exported = this.#functions[index - this.#importedFunctions.length];
    if (exported === undefined) throw new Error(`there is no function ${index}`);
    this.#exports.push([name(exported.name), KIND.FUNCTION, unsigned(index)]);
  }

  /** Index of the type of functions with this many parameters, for `callIndirect`. Types are indexed by that number. */
  typeOf(parameters: number): number {
    return parameters;
  }

  /**
   * The encoded module.
   * @param withNames whether to write the names of functions, locals and globals, for tools. Default: false, because it
   *   adds about 3 % to the time in which a worker compiles its patterns.
   */
  bytes(withNames = false): Uint8Array<ArrayBuffer> {
    const maxParameters = Math.max(
      0,
      ...this.#importedFunctions.map((f) => f.parameters),
      ...this.#functions.map((f) => f.parameters),
    );
    const types = Array.from({ length: maxParameters + 1 }, (_, count) => [
      FUNCTION_TYPE,
      vector(new Array<Code>(count).fill([I32])),
      vector([I32]),
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
    all.add([SECTION.CODE, unsigned(code.length)]);
    all.append(code);
    if (withNames) this.#addNames(all);
    return all.bytes;
  }

  #addNames(all: ByteList): void {
    const functionNames = [...this.#importedFunctions, ...this.#functions].map((entry) => entry.name);
    const locals = this.#functions.map(({ localNames }, index) => [
      unsigned(this.#importedFunctions.length + index),
      vector(nameMap(localNames)),
    ]);
    const content = new ByteList();
    content.add(name('name'));
    addSection(content, NAMES.MODULE, bytesOf(this.#name));
    addSection(content, NAMES.FUNCTION, nameMap(functionNames));
    addSection(content, NAMES.LOCAL, locals);
    addSection(content, NAMES.GLOBAL, nameMap(this.#globalNames));
    all.add([SECTION.CUSTOM, unsigned(content.length)]);
    all.append(content);
  }
}

function vector(items: readonly Code[]): Code {
  return [unsigned(items.length), items];
}

/** Adds a section, or a part of the name section, which has the same form. */
function addSection(all: ByteList, id: number, items: readonly Code[]): void {
  if (items.length === 0) return;
  const content = new ByteList();
  content.add(vector(items));
  all.add([id, unsigned(content.length)]);
  all.append(content);
}

function name(text: string): Code {
  return vector(bytesOf(text));
}

function bytesOf(text: string): Code[] {
  return [...Buffer.from(text)];
}

/** The names of the things with the indices 0, 1, … */
function nameMap(names: readonly string[]): Code[] {
  return names.map((text, index) => [unsigned(index), name(text)]);
}
