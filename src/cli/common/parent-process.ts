// What a process of peers has to do with the command that started it: it is told things, tells things, and
// leaves with it. Ctrl-C reaches both, and is the command's to answer.

import { once } from 'node:events';

/** Has this process leave, with 0, when the command has gone. */
export function exitWithParent(): void {
  process.on('disconnect', () => process.exit());
  process.on('SIGINT', () => {});
}

/** Tells the command something. */
export function sendToParent(message: object): void {
  // That it has gone may show here first.
  process.send?.(message, (error) => {
    if (error !== null) process.exit();
  });
}

/** Waits for what the command says next. */
export async function receiveFromParent<Message>(): Promise<Message> {
  // The command is of the same program, so it says what it means.
  const [message] = (await once(process, 'message')) as [Message];
  return message;
}
