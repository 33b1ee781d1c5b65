// A broker in the process of a test.

import '../async-dispose.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SluiceOptions } from '../config/config.js';
import type { CustomMessage } from '../connection/message-event.js';
import { SocketManager } from '../server/socket-manager.js';
import { Inbox } from './inbox.js';
import { nameOfRejection, type Rejection } from './rejection.js';

/** Options of a test broker: those of a broker on a Unix socket. */
export interface TestBrokerOptions extends Omit<SluiceOptions, 'port'> {
  /**
   * Whether workers validate messages, as in a real broker. It then takes a few hundred ms to start. Default: false, this
   * thread validates them.
   */
  readonly workerThreads?: boolean;
}

/** A broker in the process of a test. */
export class TestBroker {
  readonly manager: SocketManager;
  /** Where it listens: a Unix socket in a temporary folder. */
  readonly socketPath: string;
  /** @internal Messages of crawlers and applications that it has accepted. */
  readonly messages = new Inbox<CustomMessage>(({ type }) => type);
  /** @internal */
  readonly rejections = new Inbox<Rejection>(nameOfRejection);
  readonly #folder: string;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(manager: SocketManager, socketPath: string, folder: string) {
    this.manager = manager;
    this.socketPath = socketPath;
    this.#folder = folder;
    manager.on('message', ({ message }) => this.messages.add(message));
    manager.on('rejected', ({ code, messageType, issues, line }) =>
      this.rejections.add({ code, messageType, issues, line }),
    );
  }

  /** Stops it, and removes its folder. Calling it again has no effect. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Closes it at the end of the block, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.manager.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/**
 * Starts a broker in this process, in well under 100 ms: on a temporary socket, without a log on standard error, and,
 * unless `workerThreads` is set, without workers. Apart from its speed, it behaves like any other.
 * @throws SluiceError `INVALID_OPTION`, `SCHEMA_MODULE_INVALID`
 */
export async function startTestBroker({
  workerThreads = false,
  ...options
}: TestBrokerOptions = {}): Promise<TestBroker> {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  const { socketPath = join(folder, 'broker.sock') } = options;
  try {
    // Compiling patterns would take most of the time.
    const patterns = workerThreads ? 'on' : 'off';
    const manager = new SocketManager(
      { logLevel: 'silent', patterns, ...options, socketPath },
      { validatesLocally: !workerThreads },
    );
    const broker = new TestBroker(manager, socketPath, folder);
    await manager.start();
    return broker;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}
