// The systems of the durable scenarios: brokers that confirm each message once it is stored, and how a client stores,
// counts confirmations, and reads everything again. All clients are the leanest possible: raw bytes on a socket.

import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { durableCommand, isInstalled, NATS_PORT, natsCommand, sluiceCommand } from './systems.js';
import { jsonLine, natsConnect, redisCommand } from './wires.js';

export type StoreName =
  | 'Sluice, in memory'
  | 'Sluice, durable'
  | 'Sluice, fleet'
  | 'NATS JetStream'
  | 'Redis Streams, everysec'
  | 'Redis Streams, always';

/** How clients speak with a store. */
export type StoreWireName = 'lines' | 'jetstream' | 'redis streams';

export interface Store {
  readonly name: StoreName;
  /** Command line. Its data is beside the socket. */
  command(socketPath: string): readonly string[];
  /** Text that it prints when it is ready. */
  readonly ready: string;
  readonly port?: number;
  readonly wire: StoreWireName;
  /** Whether confirmed messages can be read again. */
  readonly isStoring: boolean;
  /** Whether V8 runs it. */
  readonly isJavaScript: boolean;
  /** Share of a scenario's messages; lower for slow systems. */
  readonly share: number;
  readonly program?: string;
}

function redisStore(name: StoreName, policy: string, share: number): Store {
  return {
    name,
    program: 'redis-server',
    command: (socketPath) => [
      'redis-server',
      ...['--port', '0', '--unixsocket', socketPath, '--save', '', '--dir', dirname(socketPath)],
      ...['--appendonly', 'yes', '--appendfsync', policy, '--auto-aof-rewrite-percentage', '0'],
    ],
    ready: 'eady to accept connections',
    wire: 'redis streams',
    isStoring: true,
    isJavaScript: false,
    share,
  };
}

const JET_STREAM: Store = {
  name: 'NATS JetStream',
  program: 'nats-server',
  command: (socketPath) => {
    const config = `${socketPath}.conf`;
    writeFileSync(config, `max_pending: 1073741824\njetstream { store_dir: "${dirname(socketPath)}" }\n`);
    return natsCommand(config);
  },
  ready: 'Server is ready',
  port: NATS_PORT,
  wire: 'jetstream',
  isStoring: true,
  isJavaScript: false,
  share: 0.2,
};

const ALL: readonly Store[] = [
  {
    name: 'Sluice, in memory',
    command: (socketPath) => sluiceCommand(socketPath),
    ready: 'listening',
    wire: 'lines',
    isStoring: false,
    isJavaScript: true,
    share: 1,
  },
  {
    name: 'Sluice, durable',
    command: (socketPath) => durableCommand(socketPath),
    ready: 'listening',
    wire: 'lines',
    isStoring: true,
    isJavaScript: true,
    share: 1,
  },
  JET_STREAM,
  redisStore('Redis Streams, everysec', 'everysec', 0.3),
  redisStore('Redis Streams, always', 'always', 0.1),
];

/** The installed stores. */
export const STORES: readonly Store[] = ALL.filter(
  ({ program }) => program === undefined || isInstalled(program),
);

/** The engine of fleets, if it is installed. */
export const ENGINE = STORES.find((store) => store === JET_STREAM);

/** How a publisher and a reader speak with a store. */
export interface StoreWire {
  /** Sent before everything else by a publisher, and the part of the answer that shows success. */
  readonly greeting?: { readonly bytes: Buffer; readonly answer: string };
  encode(line: string): Buffer;
  /** Sent after each block, if messages are not confirmed one by one. */
  readonly afterBlock?: Buffer;
  /** Part of each confirmation: of a message, or of a block. */
  readonly confirmation: Buffer;
  /** First bytes of a reader of everything. */
  readonly read: Buffer;
  /** First bytes of a reader of new messages: of all hosts of a fleet, if it is one. */
  readonly follow: Buffer;
  /**
   * What the end of the stored messages contains when all of them are there.
   * @param total number of messages
   * @param answer the answer to `last`
   */
  end(total: number, answer: string): string;
  /** A request whose answer is needed to recognise the end. */
  readonly last?: Buffer;
}

/** Messages of a block. */
export const BLOCK = 1000;
const STREAM = 'S';
const SUBJECT = 'c';
const ACK_INBOX = 'a';

function natsRequest(subject: string, body: object): string {
  const text = JSON.stringify(body);
  return `PUB ${subject} r ${text.length}\r\n${text}\r\n`;
}

const createStream = natsRequest(`$JS.API.STREAM.CREATE.${STREAM}`, {
  name: STREAM,
  subjects: [SUBJECT],
  storage: 'file',
  retention: 'limits',
  discard: 'old',
});

/** Pushes all messages, without acknowledgements. */
const createConsumer = natsRequest(`$JS.API.CONSUMER.CREATE.${STREAM}`, {
  stream_name: STREAM,
  config: { deliver_subject: 'd', deliver_policy: 'all', ack_policy: 'none', replay_policy: 'instant' },
});

export const STORE_WIRES: Readonly<Record<StoreWireName, StoreWire>> = {
  lines: {
    encode: (line) => Buffer.from(`${line}\n`),
    afterBlock: jsonLine('ping', {}),
    confirmation: Buffer.from('"type":"pong"'),
    read: jsonLine('subscribe', { id: 'bench', from: 'first' }),
    follow: jsonLine('subscribe', { id: 'bench', scope: 'fleet' }),
    end: (total) => `:${total}"}}\n`,
  },
  jetstream: {
    greeting: {
      bytes: Buffer.concat([natsConnect, Buffer.from(`SUB r 1\r\nSUB ${ACK_INBOX} 2\r\n${createStream}`)]),
      answer: 'stream_create_response',
    },
    encode: (line) => Buffer.from(`PUB ${SUBJECT} ${ACK_INBOX} ${Buffer.byteLength(line)}\r\n${line}\r\n`),
    confirmation: Buffer.from('"seq":'),
    read: Buffer.concat([natsConnect, Buffer.from(`SUB d 1\r\n${createConsumer}`)]),
    follow: Buffer.concat([natsConnect, Buffer.from(`SUB d 1\r\n${createConsumer}`)]),
    // Of the reply subject of the last message: its number in the stream, and that of the delivery.
    end: (total) => `.${total}.${total}.`,
  },
  'redis streams': {
    encode: (line) => redisCommand('XADD', STREAM, '*', 'm', line),
    // The second line of each answer is an ID: milliseconds and a number.
    confirmation: Buffer.from('-'),
    read: redisCommand('XRANGE', STREAM, '-', '+'),
    follow: redisCommand('XREAD', 'BLOCK', '0', 'STREAMS', STREAM, '$'),
    last: redisCommand('XREVRANGE', STREAM, '+', '-', 'COUNT', '1'),
    end: (_, answer) => /\d+-\d+/.exec(answer)?.[0] ?? '',
  },
};
