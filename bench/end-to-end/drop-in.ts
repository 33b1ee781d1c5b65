// The in-process case: a server inside an application whose handler reads every message. Either Sluice's SocketManager, or
// a plain server that runs JSON.parse, zod and the rules on the application's own event loop.
//
// node drop-in.js sluice|plain SOCKET HANDLER MESSAGES...   (prints `handled` when each number of messages is reached)

import { createServer } from 'node:net';
import { SocketManager } from '../../src/server/socket-manager.js';
import { validateMessage } from './plain-schema.js';

/** The part of a message that handlers use. */
interface Handled {
  readonly type: string;
  readonly jobId?: string | undefined;
  readonly data?: unknown;
}

/** What the application does with a message. The result stands for its work, so that nothing is optimised away. */
const HANDLERS: Readonly<Record<string, (message: Handled) => number>> = {
  '3 fields': ({ type, jobId, data }) =>
    type.length + (jobId?.length ?? 0) + ((data as { processed?: number }).processed ?? 0),
  'all fields': countFields,
};
// PLACE FOR BATCHES: as soon as SocketManager has batch handlers, a variant 'in batches' belongs here, with its scenario in
// scenarios.ts. Today it has none, so nothing is measured.

function countFields(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1;
  let fields = 0;
  for (const item of Object.values(value)) fields += countFields(item);
  return fields;
}

const [, , kind, socketPath = '', handlerName = '', ...phases] = process.argv;
const handler = HANDLERS[handlerName];
if (handler === undefined) throw new Error(`there is no handler '${handlerName}'`);
const milestones = phases.map(Number);
let handled = 0;
let work = 0;

function handle(message: Handled): void {
  work += handler?.(message) ?? 0;
  handled++;
  if (handled === milestones[0]) {
    milestones.shift();
    process.stdout.write(`handled ${handled} messages, result ${work}\n`);
  }
}

if (kind === 'sluice') {
  const manager = new SocketManager({ socketPath, logLevel: 'error' });
  manager.on('message', ({ message }) => handle(message));
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
        if (message !== undefined) handle(message);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
}
process.stdout.write('listening\n');
