// How a peer process communicates with the command that started it, and exits with it. Ctrl-C reaches both processes;
// only the command handles it.

import { once } from 'node:events';

/** Makes this process exit with code 0 when the command exits, and ignore SIGINT. */
export function exitWithParent(): void {
  process.on('disconnect', () => process.exit());
  process.on('SIGINT', () => {});
}

/** Sends a message to the command. */
export function sendToParent(message: object): void {
  // A failed send may be the first sign that the command has exited.
  process.send?.(message, (error) => {
    if (error !== null) process.exit();
  });
}

/** Waits for the next message from the command. */
export async function receiveFromParent<Message>(): Promise<Message> {
  // Not validated: the command is part of the same program.
  const [message] = (await once(process, 'message')) as [Message];
  return message;
}
