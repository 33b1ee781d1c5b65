// How a message travels in each broker's protocol: the bytes of a publication, what a client says first,
// and how many bytes a subscriber then receives.

export type WireName = 'lines' | 'undelimited' | 'nats' | 'redis' | 'mqtt';

export interface Wire {
  /** The bytes that publish a block of messages. */
  encode(lines: readonly string[]): Buffer;
  /** What a publisher sends first. */
  readonly greeting: Buffer;
  /** What a subscriber sends first. */
  readonly subscribe: Buffer;
  /** Whether this answer, read as latin1, says that the subscription is there. */
  isConfirmed(answer: string): boolean;
  /** Bytes that a subscriber receives for a message of this size. */
  delivered(size: number): number;
}

/** NATS and Redis end their lines with this, and put it around each message. */
const CRLF = '\r\n';
const NOTHING = Buffer.alloc(0);

/** The one subject, channel or topic of the bench. */
const TOPIC = 'c';

const subscribeLine = Buffer.from(
  '{"type":"subscribe","timestamp":"2026-01-01T00:00:00Z","data":{"id":"bench","overflow":"block"}}\n',
);

/** Newline-delimited JSON, and JSON without delimiter: both arrive with a newline each. */
function jsonWire(delimiter: string): Wire {
  return {
    encode: (lines) => Buffer.from(lines.map((line) => line + delimiter).join('')),
    greeting: NOTHING,
    subscribe: subscribeLine,
    isConfirmed: (answer) => answer.includes('subscribed') && answer.endsWith('\n'),
    delivered: (size) => size + 1,
  };
}

/** A packet of MQTT 3.1.1: the remaining length is written in 7 bits a byte, lowest first. */
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
/** Protocol level 4, clean session, no keep-alive, and a client id that the broker chooses. */
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
    // The broker answers PING after it has taken the subscription.
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
    // Packet 1, quality of service 0.
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
