// The parts of the WebAssembly API in use. TypeScript declares them only in its DOM library.

declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number });
    readonly buffer: ArrayBuffer;
    /** @returns the previous number of pages */
    grow(pages: number): number;
  }
  class Table {
    constructor(descriptor: { element: 'anyfunc'; initial: number; maximum?: number });
    /** @returns the previous number of entries */
    grow(entries: number): number;
    get(index: number): unknown;
    set(index: number, value: unknown): void;
  }
  class Module {
    /** @throws WebAssembly.CompileError */
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: Readonly<Record<string, unknown>>;
  }
  class CompileError extends Error {}
}
