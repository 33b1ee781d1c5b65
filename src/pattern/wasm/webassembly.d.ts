// What TypeScript declares of WebAssembly only together with all of a browser, as far as it is used here.

declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number });
    readonly buffer: ArrayBuffer;
    /** @returns how many pages there were before */
    grow(pages: number): number;
  }
  class Table {
    constructor(descriptor: { element: 'anyfunc'; initial: number; maximum?: number });
    /** @returns how many entries there were before */
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
