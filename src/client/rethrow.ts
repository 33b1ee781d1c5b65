// What an application's function has thrown is the application's to see, as an uncaught exception. But it is not thrown
// where it was called: there, more of what the broker has sent is to be told, and to be confirmed.

/** Throws an error when what is under way is done. */
export function rethrowLater(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
