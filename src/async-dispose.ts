// Declares `Symbol.asyncDispose` for programs that are compiled without `lib: ["esnext.disposable"]` and with type
// definitions of Node that lack it: the declarations of the classes that are closed by `await using` need its type.

declare global {
  interface SymbolConstructor {
    /** The method that `await using` calls. */
    readonly asyncDispose: unique symbol;
  }
}

export {};
