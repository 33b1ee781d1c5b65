// A connection of the broker to itself: dead letters are resent through it, on the same path as crawlers' messages. It
// uses a private Unix socket, because the broker may listen on TCP only.

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageSender } from '../admin/admin-source.js';
import { SluiceError } from '../errors.js';
import { NO_REPLY } from '../log/dead-letters.js';
import { withTimeout } from '../timeout.js';

/** Sends messages to the broker, one after another. */
export class LoopbackPeer implements MessageSender {
  readonly #socket: Socket;
  readonly #delimiter: Buffer;
  readonly #timeout: number;
  #unread = Buffer.alloc(0);
  /** Why the current message was rejected. */
  #rejection: string | undefined;
  /** Number of messages that were rejected so far. */
  #rejected = 0;
  /** Settles the current message. */
  #settle: ((error?: Error) => void) | undefined;

  private constructor(socket: Socket, delimiter: number, timeout: number) {
    this.#socket = socket;
    this.#delimiter = Buffer.of(delimiter);
    this.#timeout = timeout;
    socket.on('data', (bytes) => this.#read(bytes));
    socket.on('error', () => {});
    socket.on('close', () => this.#settle?.(new SluiceError('CONNECTION_CLOSED')));
  }

  /**
   * @param accept takes the broker's end of the connection, created with `pauseOnConnect` and `allowHalfOpen`
   * @param delimiter the byte after each message
   * @param timeout ms that a message may take
   * @throws the system's error if there is no temporary folder to connect in
   */
  static async open(
    accept: (socket: Socket) => void,
    delimiter: number,
    timeout: number,
  ): Promise<LoopbackPeer> {
    // Only this user may enter it.
    const folder = await mkdtemp(join(tmpdir(), 'sluice-'));
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, accept);
    try {
      const path = join(folder, 'own.sock');
      await once(server.listen(path), 'listening');
      const socket = connect(path);
      await Promise.all([once(socket, 'connect'), once(server, 'connection')]);
      return new LoopbackPeer(socket, delimiter, timeout);
    } finally {
      server.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** @throws SluiceError `CONNECTION_CLOSED`, `SEND_TIMEOUT` */
  async send(message: Buffer): Promise<string | undefined> {
    this.#rejection = undefined;
    const answered = new Promise<void>((resolve, reject) => {
      this.#settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    if (this.#socket.destroyed) this.#settle?.(new SluiceError('CONNECTION_CLOSED'));
    this.#socket.write(Buffer.concat([message, this.#delimiter, PING, this.#delimiter]));
    await withTimeout(answered, this.#timeout, () => {
      // A late answer would be taken for that of the next message.
      this.close();
      throw new SluiceError('SEND_TIMEOUT');
    });
    return this.#rejection;
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(bytes: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, bytes]);
    for (
      let end = this.#unread.indexOf(this.#delimiter);
      end !== -1;
      end = this.#unread.indexOf(this.#delimiter)
    ) {
      this.#handle(JSON.parse(this.#unread.toString('utf8', 0, end)) as Answer);
      this.#unread = this.#unread.subarray(end + 1);
    }
  }

  #handle({ type, data }: Answer): void {
    if (type === 'error') this.#rejection = `${data?.code}: ${data?.message}`;
    if (type === 'pong') {
      const { rejected = 0 } = data ?? {};
      if (rejected > this.#rejected) this.#rejection ??= NO_REPLY;
      this.#rejected = rejected;
      this.#settle?.();
    }
    if (type === 'ping') this.#socket.write(Buffer.concat([PONG, this.#delimiter]));
  }
}

/** A message of the broker. */
interface Answer {
  readonly type: string;
  readonly data?: { readonly code?: string; readonly message?: string; readonly rejected?: number };
}

const PING = Buffer.from('{"type":"ping"}');
const PONG = Buffer.from('{"type":"pong","data":{}}');
