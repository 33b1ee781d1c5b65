// A scripted broker, for messages that a real one never sends: a server on a socket in a temporary folder. By default
// it replies like a real broker.

import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './broker.js';
import type { Line } from './peer.js';

export const WELCOME = {
  connectionId: 'c',
  protocolVersion: '1.0.0',
  maxMessageSize: 1024 * 1024,
  heartbeatInterval: 5000,
  heartbeatTimeout: 30_000,
  serverVersion: '0.0.0',
};

export class ScriptedBroker {
  readonly socketPath = join(temporaryFolder(), 'scripted.sock');
  /** The accepted connections, in order. */
  readonly connections: Socket[] = [];
  /** Messages received on all connections. */
  readonly received: Line[] = [];
  /** Returns the reply to a message, or nothing for no reply. */
  answer: (message: Line, connection: Socket) => string | undefined = answerAsBroker;

  static async start(): Promise<ScriptedBroker> {
    const broker = new ScriptedBroker();
    const server = createServer((connection) => broker.#accept(connection));
    await new Promise<void>((resolve) => server.listen(broker.socketPath, resolve));
    onTestFinished(() => {
      server.close();
      for (const connection of broker.connections) connection.destroy();
    });
    return broker;
  }

  #accept(connection: Socket): void {
    this.connections.push(connection);
    let partial = '';
    connection.setEncoding('utf8').on('error', () => {});
    connection.on('data', (text: string) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      for (const line of lines) {
        const message = JSON.parse(line) as Line;
        this.received.push(message);
        const answer = this.answer(message, connection);
        if (answer !== undefined) connection.write(`${answer}\n`);
      }
    });
  }
}

/** A real broker's reply to a message. */
export function answerAsBroker({ type, data }: Line): string | undefined {
  if (type === 'hello') return JSON.stringify({ type: 'welcome', data: WELCOME });
  if (type === 'ping') return '{"type":"pong","data":{}}';
  const isRequest = type === 'subscribe' || type === 'unsubscribe';
  return isRequest ? JSON.stringify({ type: `${type}d`, data: { id: data.id } }) : undefined;
}
