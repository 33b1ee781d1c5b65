// The in-process case: a server inside an application whose handler reads every message's `data`. Either Sluice's
// SocketManager, or a plain server that runs JSON.parse, zod and the rules on the application's own event loop.
//
// node drop-in.js sluice|plain SOCKET MESSAGES...   (prints `handled` when each number of messages is reached)

import { createServer } from 'node:net';
import { SocketManager } from '../../src/server/socket-manager.js';
import { validateMessage } from './plain-schema.js';

const [, , kind, socketPath = '', ...phases] = process.argv;
const milestones = phases.map(Number);
let handled = 0;
let fields = 0;

/** Stands for the application's work: uses the data. */
function handle(data: unknown): void {
  fields += Object.keys(data as object).length;
  handled++;
  if (handled === milestones[0]) {
    milestones.shift();
    process.stdout.write(`handled ${handled} messages, ${fields} fields\n`);
  }
}

if (kind === 'sluice') {
  const manager = new SocketManager({ socketPath, logLevel: 'error' });
  manager.on('message', ({ message }) => handle(message.data));
  await manager.start();
} else {
  const server = createServer((socket) => {
    let rest = '';
    socket.setEncoding('utf8');
    socket.on('error', () => {});
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const message = validateMessage(JSON.parse(line));
        if (message !== undefined) handle(message.data);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
}
process.stdout.write('listening\n');
