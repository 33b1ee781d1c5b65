// Collects uncaught exceptions for a test that expects them; otherwise the test runner would report a failure.

import { onTestFinished } from 'vitest';

/** Messages of uncaught exceptions, from now until the end of the test. */
export function collectUncaught(): string[] {
  const messages: string[] = [];
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', ({ message }) => messages.push(message));
  onTestFinished(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of others) process.on('uncaughtException', listener);
  });
  return messages;
}
