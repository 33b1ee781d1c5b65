// What nobody catches, for a test that expects it: without this, the runner takes it for a failure.

import { onTestFinished } from 'vitest';

/** Messages of the errors that nobody has caught, from now on to the end of the test. */
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
