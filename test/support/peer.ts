// A minimal peer: a socket, the lines received, and methods that wait for expected messages.

import { connect, type Socket } from 'node:net';
import { connect as connectEncrypted } from 'node:tls';

export interface Line {
  type: string;
  data: Record<string, unknown>;
  [key: string]: unknown;
}

/** The beginning of an answer to a ping. */
const PONG = '{"type":"pong"';

export class Peer {
  readonly socket: Socket;
  /** Received lines, without their newline. */
  readonly lines: string[] = [];
  readonly closed: Promise<void>;
  /** Cache of parsed lines, because tests read all messages repeatedly. */
  readonly #parsed: { readonly line: string; readonly message: Line }[] = [];
  #partial = '';
  #pongs = 0;
  #waiters: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      // Splitting at each part of a long line would copy its beginning again and again.
      const parts = text.includes('\n') ? (this.#partial + text).split('\n') : [this.#partial + text];
      this.#partial = parts.pop() ?? '';
      for (const line of parts) {
        this.lines.push(line);
        if (line.startsWith(PONG)) this.#pongs++;
      }
      this.#wake();
    });
    socket.on('error', () => {});
    this.closed = new Promise((resolve) =>
      socket.on('close', () => {
        resolve();
        this.#wake();
      }),
    );
  }

  /** @param target with `ca`, the connection is encrypted */
  static async connect(target: string | { host: string; port: number; ca?: Buffer }): Promise<Peer> {
    let socket: Socket;
    if (typeof target === 'string') socket = connect(target);
    else socket = target.ca === undefined ? connect(target) : connectEncrypted(target);
    const peer = new Peer(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return peer;
  }

  /** Bytes of an incomplete line. */
  get partial(): string {
    return this.#partial;
  }

  /** Number of answers to pings. */
  get pongs(): number {
    return this.#pongs;
  }

  get messages(): Line[] {
    return this.lines.map((_, index) => this.#messageAt(index));
  }

  #messageAt(index: number): Line {
    const line = this.lines[index] ?? '';
    const known = this.#parsed[index];
    if (known?.line === line) return known.message;
    const message = JSON.parse(line) as Line;
    this.#parsed[index] = { line, message };
    return message;
  }

  write(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  /** Sends one message as a line. */
  say(type: string, data: unknown = {}, envelope: object = {}): void {
    this.write(`${JSON.stringify({ type, timestamp: '2026-01-01T00:00:00.000Z', ...envelope, data })}\n`);
  }

  /** The first matching message, received already or in the future. */
  async next(wanted: string | ((message: Line) => boolean)): Promise<Line> {
    const fits = typeof wanted === 'string' ? (message: Line) => message.type === wanted : wanted;
    const mayFit = (line: string) => typeof wanted !== 'string' || line.includes(wanted);
    let checked = 0;
    let last: string | undefined;
    for (;;) {
      // Tests may remove lines.
      if (checked > 0 && this.lines[checked - 1] !== last) checked = 0;
      for (; checked < this.lines.length; checked++) {
        if (!mayFit(this.lines[checked] ?? '')) continue;
        const message = this.#messageAt(checked);
        if (fits(message)) return message;
      }
      last = this.lines[checked - 1];
      if (this.socket.destroyed) {
        throw new Error(`closed without ${wanted}; got ${this.lines.join(' | ').slice(0, 2000)}`);
      }
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  /** Waits until this many lines were received. */
  async count(lines: number): Promise<string[]> {
    while (this.lines.length < lines) {
      if (this.socket.destroyed) throw new Error(`closed after ${this.lines.length} of ${lines} lines`);
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    return this.lines;
  }

  /** Subscribes, and waits until the broker has confirmed. */
  async subscribe(data: object = {}): Promise<this> {
    const id = (data as { id?: string }).id ?? 'all';
    this.say('subscribe', { id, ...data });
    await this.next((message) => message.type === 'subscribed' && message.data.id === id);
    return this;
  }

  /** Waits until the broker has settled everything sent before. */
  async settled(): Promise<void> {
    const before = this.#pongs;
    this.say('ping');
    while (this.#pongs === before) await this.count(this.lines.length + 1);
  }

  /** Received messages that the broker forwarded. */
  get forwarded(): Line[] {
    const own = ['welcome', 'subscribed', 'unsubscribed', 'ping', 'pong', 'error'];
    return this.messages.filter(({ type }) => !own.includes(type));
  }

  get errors(): string[] {
    return this.messages.filter(({ type }) => type === 'error').map(({ data }) => String(data.code));
  }

  close(): Promise<void> {
    this.socket.destroy();
    return this.closed;
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
