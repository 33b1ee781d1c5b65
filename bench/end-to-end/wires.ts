// The wire protocol of each broker: the encoding of published messages, the clients' first bytes, and the number of
// bytes that a subscriber receives.

export type WireName = 'lines' | 'undelimited' | 'nats' | 'redis' | 'mqtt';

export interface Wire {
  /** Encodes a block of messages for publishing. */
  encode(lines: readonly string[]): Buffer;
  /** First bytes of a publisher. */
  readonly greeting: Buffer;
  /** First bytes of a subscriber. */
  readonly subscribe: Buffer;
  /** Whether the reply, decoded as latin1, confirms the subscription. */
  isConfirmed(answer: string): boolean;
  /** Number of bytes that a subscriber receives for a message of this size. */
  delivered(size: number): number;
}

/** Ends each line and each message in NATS and Redis. */
const CRLF = '\r\n';
const NOTHING = Buffer.alloc(0);

/** The only subject, channel or topic in the bench. */
const TOPIC = 'c';

const subscribeLine = Buffer.from(
  '{"type":"subscribe","timestamp":"2026-01-01T00:00:00Z","data":{"id":"bench","overflow":"block"}}\n',
);

/** JSON messages with or without a delimiter. Subscribers receive both with a newline after each message. */
function jsonWire(delimiter: string): Wire {
  return {
    encode: (lines) => Buffer.from(lines.map((line) => line + delimiter).join('')),
    greeting: NOTHING,
    subscribe: subscribeLine,
    isConfirmed: (answer) => answer.includes('subscribed') && answer.endsWith('\n'),
    delivered: (size) => size + 1,
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

const MQTT = { CONNECT: 0x10, PUBLISH: 0x30, SUBSCRIBE: 0x82, SUBACK: '\x90\x03\x00\x01\x00' } as const;
/** Protocol level 4, clean session, no keep-alive, client ID assigned by the broker. */
const mqttConnect = mqttPacket(
  MQTT.CONNECT,
  mqttString('MQTT'),
  Buffer.from([4, 0x02, 0, 0]),
  mqttString(''),
);
const mqttTopic = mqttString(TOPIC);

export const WIRES: Readonly<Record<WireName, Wire>> = {
  lines: jsonWire('\n'),
  undelimited: jsonWire(''),
  nats: {
    encode: (lines) =>
      Buffer.from(
        lines.map((line) => `PUB ${TOPIC} ${Buffer.byteLength(line)}${CRLF}${line}${CRLF}`).join(''),
      ),
    greeting: NOTHING,
    // The broker answers PING after it has processed the subscription.
    subscribe: Buffer.from(`CONNECT {"verbose":false}${CRLF}SUB ${TOPIC} 1${CRLF}PING${CRLF}`),
    isConfirmed: (answer) => answer.endsWith(`PONG${CRLF}`),
    delivered: (size) => `MSG ${TOPIC} 1 ${size}`.length + CRLF.length + size + CRLF.length,
  },
  redis: {
    encode: (lines) =>
      Buffer.from(
        lines
          .map((line) => {
            const parts = ['*3', '$7', 'PUBLISH', '$1', TOPIC, `$${Buffer.byteLength(line)}`, line];
            return parts.map((part) => part + CRLF).join('');
          })
          .join(''),
      ),
    greeting: NOTHING,
    subscribe: Buffer.from(`*2${CRLF}$9${CRLF}SUBSCRIBE${CRLF}$1${CRLF}${TOPIC}${CRLF}`),
    isConfirmed: (answer) => answer.endsWith(`:1${CRLF}`),
    delivered: (size) => {
      const head = ['*3', '$7', 'message', '$1', TOPIC, `$${size}`];
      return head.reduce((sum, part) => sum + part.length + CRLF.length, 0) + size + CRLF.length;
    },
  },
  mqtt: {
    encode: (lines) =>
      Buffer.concat(lines.map((line) => mqttPacket(MQTT.PUBLISH, mqttTopic, Buffer.from(line)))),
    greeting: mqttConnect,
    // Packet ID 1, quality of service 0.
    subscribe: Buffer.concat([
      mqttConnect,
      mqttPacket(MQTT.SUBSCRIBE, Buffer.from([0, 1]), mqttTopic, Buffer.from([0])),
    ]),
    isConfirmed: (answer) => answer.endsWith(MQTT.SUBACK),
    delivered: (size) => {
      const body = mqttTopic.length + size;
      return 1 + mqttLength(body).length + body;
    },
  },
};
