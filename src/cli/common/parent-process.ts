// How a peer process communicates with the command that started it, and exits with it. Ctrl-C reaches both processes;
// only the command handles it.

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

/** Makes this process exit with code 0 when the command exits, and ignore SIGINT. */
function exitWithParent(): void {
  process.on('disconnect', () => process.exit());
  process.on('SIGINT', () => {});
}

/** Time in which a command that is exiting closes the channel, in ms. */
const EXIT_TIME = 1000;

/**
 * Runs a peer process with the settings that the command sends first. It exits with the command, without an error: when
 * the command exits, its broker is gone a moment before the channel to the command is closed.
 */
export async function runPeer<Settings>(run: (settings: Settings) => Promise<void>): Promise<void> {
  exitWithParent();
  const settings = await receiveFromParent<Settings>();
  try {
    await run(settings);
  } catch (error) {
    await delay(EXIT_TIME);
    throw error;
  }
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
