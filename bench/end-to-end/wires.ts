// The wire protocol of each broker: the encoding of published messages, the clients' first bytes, and the number of
// bytes that a subscriber receives.

import type { Subscription } from './filters.js';

export type WireName = 'lines' | 'undelimited' | 'nats' | 'redis' | 'mqtt';

export interface Wire {
  /** Encodes a message for publishing. */
  encode(line: string, topic: string): Buffer;
  /** First bytes of a publisher. @param crawlerId if subscribers select by it */
  greeting(crawlerId?: string): Buffer;
  /** First bytes of a subscriber. */
  subscribe(subscriptions: readonly Subscription[]): Buffer;
  /** Whether the reply, decoded as latin1, confirms this many subscriptions. */
  isConfirmed(answer: string, subscriptions: number): boolean;
  /** Number of bytes that a subscriber receives for a message of this size. */
  delivered(size: number, topic: string): number;
  /** The broker answers it with `pong` when it has processed all that was sent before on this connection. */
  readonly ping: Buffer;
  /** Part of the answer, decoded as latin1. */
  readonly pong: string;
}

/** Ends each line and each message in NATS and Redis. */
const CRLF = '\r\n';
const NOTHING = Buffer.alloc(0);

/** A subscription to rejected messages. Only Sluice has it. */
export const SUBSCRIBE_REJECTED = jsonLine('subscribe', {
  id: 'rejected',
  overflow: 'block',
  types: ['rejected'],
});

export function jsonLine(type: string, data: object): Buffer {
  return Buffer.from(`${JSON.stringify({ type, timestamp: '2026-01-01T00:00:00Z', data })}\n`);
}

/** JSON messages with or without a delimiter. Subscribers receive both with a newline after each message. */
function jsonWire(delimiter: string): Wire {
  return {
    encode: (line) => Buffer.from(line + delimiter),
    greeting: (crawlerId) =>
      crawlerId === undefined ? NOTHING : jsonLine('hello', { role: 'crawler', crawlerId }),
    subscribe: (subscriptions) =>
      Buffer.concat(
        subscriptions.map(({ filter, group }, index) =>
          jsonLine('subscribe', { id: `bench-${index}`, overflow: 'block', ...filter, group }),
        ),
      ),
    isConfirmed: (answer, subscriptions) =>
      answer.split('"type":"subscribed"').length > subscriptions && answer.endsWith('\n'),
    delivered: (size) => size + 1,
    ping: jsonLine('ping', {}),
    pong: '"type":"pong"',
  };
}

/** A packet of MQTT 3.1.1. Its remaining length is encoded with 7 bits per byte, least significant first. */
function mqttPacket(kind: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([kind, ...mqttLength(body.length)]), body]);
}

function mqttLength(length: number): number[] {
  const bytes: number[] = [];
  let rest = length;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return bytes;
}

function mqttString(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

const MQTT = { CONNECT: 0x10, PUBLISH: 0x30, SUBSCRIBE: 0x82, PINGREQ: 0xc0 } as const;
/** Protocol level 4, clean session, no keep-alive, client ID assigned by the broker. */
const mqttConnect = mqttPacket(
  MQTT.CONNECT,
  mqttString('MQTT'),
  Buffer.from([4, 0x02, 0, 0]),
  mqttString(''),
);
/** Packet ID 1, quality of service 0. */
const mqttSubscribe = (topics: readonly string[]) =>
  mqttPacket(
    MQTT.SUBSCRIBE,
    Buffer.from([0, 1]),
    ...topics.flatMap((topic) => [mqttString(topic), Buffer.from([0])]),
  );

/** Subscription IDs of a connection have one length. */
const natsId = (index: number) => 100 + index;

export const natsConnect = Buffer.from(`CONNECT {"verbose":false,"pedantic":false}${CRLF}`);

export function redisCommand(...words: readonly string[]): Buffer {
  const lines = words.flatMap((word) => [`$${Buffer.byteLength(word)}`, word]);
  return Buffer.from([`*${words.length}`, ...lines, ''].join(CRLF));
}

export const WIRES: Readonly<Record<WireName, Wire>> = {
  lines: jsonWire('\n'),
  undelimited: jsonWire(''),
  nats: {
    encode: (line, topic) => Buffer.from(`PUB ${topic} ${Buffer.byteLength(line)}${CRLF}${line}${CRLF}`),
    // Without it, the broker would answer each message.
    greeting: () => natsConnect,
    // The broker answers PING after it has processed the subscriptions.
    subscribe: (subscriptions) => {
      const lines = subscriptions.map(({ topic, group }, index) =>
        ['SUB', topic, ...(group === undefined ? [] : [group]), natsId(index)].join(' '),
      );
      return Buffer.concat([natsConnect, Buffer.from([...lines, 'PING', ''].join(CRLF))]);
    },
    isConfirmed: (answer) => answer.endsWith(`PONG${CRLF}`),
    delivered: (size, topic) => `MSG ${topic} ${natsId(0)} ${size}`.length + CRLF.length + size + CRLF.length,
    ping: Buffer.from(`PING${CRLF}`),
    pong: `PONG${CRLF}`,
  },
  redis: {
    encode: (line, topic) => redisCommand('PUBLISH', topic, line),
    greeting: () => NOTHING,
    subscribe: (subscriptions) => redisCommand('SUBSCRIBE', ...subscriptions.map(({ topic }) => topic)),
    isConfirmed: (answer, subscriptions) => answer.endsWith(`:${subscriptions}${CRLF}`),
    delivered: (size, topic) => {
      const head = ['*3', '$7', 'message', `$${topic.length}`, topic, `$${size}`];
      return head.reduce((sum, part) => sum + part.length + CRLF.length, 0) + size + CRLF.length;
    },
    ping: redisCommand('PING'),
    pong: `+PONG${CRLF}`,
  },
  mqtt: {
    encode: (line, topic) => mqttPacket(MQTT.PUBLISH, mqttString(topic), Buffer.from(line)),
    greeting: () => mqttConnect,
    subscribe: (subscriptions) =>
      Buffer.concat([mqttConnect, mqttSubscribe(subscriptions.map(({ topic }) => topic))]),
    isConfirmed: (answer, subscriptions) =>
      answer.endsWith(`\x90${String.fromCharCode(2 + subscriptions)}\x00\x01${'\x00'.repeat(subscriptions)}`),
    delivered: (size, topic) => {
      const body = mqttString(topic).length + size;
      return 1 + mqttLength(body).length + body;
    },
    ping: mqttPacket(MQTT.PINGREQ),
    pong: '\xd0\x00',
  },
};
