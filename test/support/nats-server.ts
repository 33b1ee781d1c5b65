// A real NATS server with JetStream, which can be killed, and put back to an older state.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './broker.js';
import type { WhenOver } from './share.js';

/** Whether the program is installed. Tests that need it are skipped otherwise. */
export const hasNatsServer = spawnSync('nats-server', ['--version']).status === 0;

/** Connections take ports from 32,768 on: no one takes that of a server while it is killed. */
const [MIN_PORT, MAX_PORT] = [10_000, 32_000];
/** Each process begins elsewhere. */
const PORTS_OF_PROCESS = 50;
let lastPort = MIN_PORT + ((process.pid * PORTS_OF_PROCESS) % (MAX_PORT - MIN_PORT));

export class NatsServer {
  readonly #port: number;
  readonly #config: string;
  readonly #store: string;
  #child: ChildProcess | undefined;

  private constructor(port: number, config: string, store: string) {
    this.#port = port;
    this.#config = config;
    this.#store = store;
  }

  /** @param settings lines of its configuration */
  static async start(settings = '', whenOver: WhenOver = onTestFinished): Promise<NatsServer> {
    const folder = temporaryFolder(whenOver);
    const [config, store] = [join(folder, 'nats.conf'), join(folder, 'store')];
    writeFileSync(config, `jetstream { store_dir: ${JSON.stringify(store)} }\n${settings}\n`);
    for (;;) {
      const server = new NatsServer(++lastPort, config, store);
      whenOver(() => server.kill());
      try {
        await server.start();
        return server;
      } catch (error) {
        if (!String(error).includes('address already in use')) throw error;
      }
    }
  }

  /** For the option `fleet`. */
  get address(): string {
    return `nats://127.0.0.1:${this.#port}`;
  }

  /** Starts it again. */
  async start(): Promise<void> {
    const args = ['--addr', '127.0.0.1', '--port', String(this.#port), '--config', this.#config];
    const child = spawn('nats-server', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    let log = '';
    for await (const text of child.stderr.iterator({ destroyOnReturn: false })) {
      log += text;
      if (log.includes('Server is ready')) break;
    }
    child.stderr.resume();
    if (!log.includes('Server is ready')) throw new Error(log);
  }

  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Shuts it down: it tells its clients. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    child.kill(signal);
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** Remembers its state. It must not be running. */
  save(): void {
    cpSync(this.#store, `${this.#store}.saved`, { recursive: true });
  }

  /** Puts it back to the saved state, as if the disk had lost what came later. It must not be running. */
  restore(): void {
    rmSync(this.#store, { recursive: true });
    cpSync(`${this.#store}.saved`, this.#store, { recursive: true });
  }
}
