// Collects uncaught exceptions for a test that expects them; otherwise the test runner would report a failure.

import { onTestFinished } from 'vitest';

/** Messages of uncaught exceptions and unhandled rejections, from now until the end of the test. */
export function collectUncaught(): string[] {
  const messages: string[] = [];
  const collect = (error: unknown): void => {
    messages.push(error instanceof Error ? error.message : String(error));
  };
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    const others = process.rawListeners(event) as ((error: unknown) => void)[];
    process.removeAllListeners(event);
    process.on(event, collect);
    onTestFinished(() => {
      process.removeAllListeners(event);
      for (const listener of others) process.on(event, listener);
    });
  }
  return messages;
}
