// How a message travels in each broker's protocol: the bytes of a publication, what a subscriber says
// first, and how many bytes it then receives.

export interface Wire {
  /** The bytes that publish a block of lines. */
  encode(lines: readonly string[]): Buffer;
  /** What a subscriber sends first. */
  readonly subscribe: string;
  /** What says that the subscription is there. */
  readonly confirmed: string;
  /** Bytes that a subscriber receives for a message of this size. */
  delivered(size: number): number;
}

/** NATS and Redis end their lines with this, and put it around each message. */
const CRLF = '\r\n';

export const WIRES: Readonly<Record<'lines' | 'nats' | 'redis', Wire>> = {
  lines: {
    encode: (lines) => Buffer.from(lines.map((line) => `${line}\n`).join('')),
    subscribe:
      '{"type":"subscribe","timestamp":"2026-01-01T00:00:00Z","data":{"id":"bench","overflow":"block"}}\n',
    confirmed: 'subscribed',
    delivered: (size) => size + 1,
  },
  nats: {
    encode: (lines) =>
      Buffer.from(lines.map((line) => `PUB c ${Buffer.byteLength(line)}${CRLF}${line}${CRLF}`).join('')),
    // The broker answers PING after it has taken the subscription.
    subscribe: `CONNECT {"verbose":false}${CRLF}SUB c 1${CRLF}PING${CRLF}`,
    confirmed: 'PONG',
    delivered: (size) => `MSG c 1 ${size}`.length + CRLF.length + size + CRLF.length,
  },
  redis: {
    encode: (lines) =>
      Buffer.from(
        lines
          .map(
            (line) =>
              `*3${CRLF}$7${CRLF}PUBLISH${CRLF}$1${CRLF}c${CRLF}$${Buffer.byteLength(line)}${CRLF}${line}${CRLF}`,
          )
          .join(''),
      ),
    subscribe: `*2${CRLF}$9${CRLF}SUBSCRIBE${CRLF}$1${CRLF}c${CRLF}`,
    confirmed: ':1',
    delivered: (size) =>
      ['*3', '$7', 'message', '$1', 'c', `$${size}`].reduce(
        (sum, part) => sum + part.length + CRLF.length,
        0,
      ) +
      size +
      CRLF.length,
  },
};
