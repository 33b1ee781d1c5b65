// The baseline for Sluice: a typical in-process server. It splits lines, parses and validates
// with the same zod schemas and rules on its own event loop, and writes each valid line to every subscriber. It
// stops reading while a subscriber is behind; without that, it would run out of memory.
//
// node plain-server.js SOCKET

import { createServer, type Socket } from 'node:net';
import { validateMessage } from './plain-schema.js';

const subscribers = new Set<Socket>();
const publishers = new Set<Socket>();

const server = createServer((socket) => {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) handle(socket, line);
  });
  socket.on('error', () => {});
  socket.on('drain', resume);
  socket.on('close', () => {
    subscribers.delete(socket);
    publishers.delete(socket);
    resume();
  });
  publishers.add(socket);
});

function handle(socket: Socket, line: string): void {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    socket.write('{"type":"error"}\n');
    return;
  }
  const message = validateMessage(value);
  if (message === undefined) socket.write('{"type":"error"}\n');
  else if (message.type === 'subscribe') {
    publishers.delete(socket);
    subscribers.add(socket);
    socket.write('{"type":"subscribed"}\n');
  } else forward(`${line}\n`);
}

function forward(line: string): void {
  for (const subscriber of subscribers) subscriber.write(line);
  if (isBehind()) for (const publisher of publishers) publisher.pause();
}

function resume(): void {
  if (!isBehind()) for (const publisher of publishers) publisher.resume();
}

function isBehind(): boolean {
  for (const subscriber of subscribers) if (subscriber.writableNeedDrain) return true;
  return false;
}

server.listen(process.argv[2], () => process.stdout.write('listening\n'));
process.on('SIGTERM', () => process.exit());
