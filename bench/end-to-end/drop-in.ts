// The in-process case: a server inside an application whose handler reads every message. Either a server of Sluice, or a
// plain one that runs JSON.parse, zod and the rules on the application's own event loop.
//
// node drop-in.js sluice|plain SOCKET HANDLER MESSAGES...   (prints `handled` when each number of messages is reached)

import { createServer } from 'node:net';
import type { MessageEvent } from '../../src/connection/message-event.js';
import { SocketManager } from '../../src/server/socket-manager.js';
import { SocketServer } from '../../src/server/socket-server.js';
import { validateMessage } from './plain-schema.js';

/** The part of a message that handlers use. */
interface Handled {
  readonly type: string;
  readonly jobId?: string | undefined;
  readonly data?: unknown;
}

/** What the application does with a message. The result stands for its work, so that nothing is optimised away. */
type Handler = (message: Handled) => number;

function readThreeFields({ type, jobId, data }: Handled): number {
  return workOf(type, jobId, (data as { processed?: number }).processed);
}

function workOf(type: string, jobId: string | undefined, processed: number | undefined): number {
  return type.length + (jobId?.length ?? 0) + (processed ?? 0);
}

/** Without a parsed message: from the fields that the workers deliver. */
function getThreeFields(event: MessageEvent): number {
  // All publishers' messages have these types.
  const jobId = event.get('jobId') as string | undefined;
  return workOf(event.type, jobId, event.get('data.processed') as number | undefined);
}

const FIELDS = ['jobId', 'data.processed'];

function countFields(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1;
  let fields = 0;
  for (const item of Object.values(value)) fields += countFields(item);
  return fields;
}

const [, , kind, socketPath = '', handlerName = '', ...phases] = process.argv;
const milestones = phases.map(Number);
let handled = 0;
let work = 0;

function addWork(result: number, messages: number): void {
  work += result;
  handled += messages;
  if (handled < (milestones[0] ?? Infinity)) return;
  milestones.shift();
  process.stdout.write(`handled ${handled} messages, result ${work}\n`);
}

/** Sluice with each of the handlers. */
const SLUICE: Readonly<Record<string, () => SocketManager | SocketServer>> = {
  '3 fields': () => withListener(readThreeFields),
  'all fields': () => withListener(countFields),
  '3 fields by name': () => {
    const manager = new SocketManager({ socketPath, logLevel: 'error' });
    manager.projectFields('*', FIELDS);
    manager.on('message', (event) => addWork(getThreeFields(event), 1));
    return manager;
  },
  '3 fields by name, in batches': () => {
    const server = new SocketServer({ socketPath, logLevel: 'error' }, { defaultHandlers: false });
    server.router.registerHandler('*', {
      fields: FIELDS,
      async handleBatch(events) {
        let sum = 0;
        for (const event of events) sum += getThreeFields(event);
        // Stands for writing them to a database.
        await null;
        addWork(sum, events.length);
      },
    });
    return server;
  },
};

function withListener(handler: Handler): SocketManager {
  const manager = new SocketManager({ socketPath, logLevel: 'error' });
  manager.on('message', ({ message }) => addWork(handler(message), 1));
  return manager;
}

const create = SLUICE[handlerName];
if (create === undefined) throw new Error(`there is no handler '${handlerName}'`);
if (kind === 'sluice') {
  await create().start();
} else {
  const handler = handlerName === 'all fields' ? countFields : readThreeFields;
  const server = createServer((socket) => {
    let rest = '';
    socket.setEncoding('utf8');
    socket.on('error', () => {});
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const message = validateMessage(JSON.parse(line));
        if (message !== undefined) addWork(handler(message), 1);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
}
process.stdout.write('listening\n');
