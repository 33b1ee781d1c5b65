// Tells systemd how the broker is, where it asks for that: sd_notify(3). Its socket takes datagrams, for which Node has
// no Unix sockets, so `systemd-notify` sends them. Without NOTIFY_SOCKET, nothing is done.

import { spawn } from 'node:child_process';
import type { Logger } from 'pino';
import { describeError } from '../../errors.js';
import type { SocketManager } from '../../server/socket-manager.js';

/** What systemd may be told, as sd_notify(3) spells it. */
const STATES = { ready: 'READY=1', reloading: 'RELOADING=1', stopping: 'STOPPING=1' } as const;

type SupervisorState = keyof typeof STATES;

export class Supervisor {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #log: Logger;
  #told: Promise<void> = Promise.resolve();
  #isReady = false;

  /** @param environment where NOTIFY_SOCKET is looked for, and that of systemd-notify */
  constructor(log: Logger, environment: NodeJS.ProcessEnv = process.env) {
    this.#environment = environment;
    this.#log = log;
  }

  /** Resolves when all that was told so far has arrived, or could not be told. */
  get allTold(): Promise<void> {
    return this.#told;
  }

  /** Tells when a server is ready, and when it begins to stop. */
  follow(manager: SocketManager): void {
    manager.once('server_started', () => {
      this.#isReady = true;
      void this.tell('ready');
    });
    manager.once('server_stopping', () => {
      this.#isReady = false;
      void this.tell('stopping');
    });
  }

  /** Tells that the broker reloads while it does `work`. One that is not ready yet, or no more, tells nothing. */
  whileReloading(work: () => void): void {
    if (!this.#isReady) return work();
    void this.tell('reloading');
    work();
    void this.tell('ready');
  }

  /**
   * Tells one state; after `reloading`, `ready` must come. Those told before arrive before. Never rejects: a broker that
   * cannot tell goes on.
   */
  tell(state: SupervisorState): Promise<void> {
    if (this.#environment.NOTIFY_SOCKET) this.#told = this.#told.then(() => this.#send(assignments(state)));
    return this.#told;
  }

  #send(variables: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      const failed = (error: string) => {
        this.#log.warn({ error }, 'systemd-notify failed: systemd does not know that the broker is ready');
        resolve();
      };
      // It ends when systemd has read the message, so that systemd can still see who has sent it.
      const child = spawn('systemd-notify', variables, { stdio: 'ignore', env: this.#environment });
      child.once('error', (error) => failed(describeError(error)));
      child.once('exit', (code) => (code === 0 ? resolve() : failed(`exit code ${code}`)));
    });
  }
}

function assignments(state: SupervisorState): string[] {
  if (state !== 'reloading') return [STATES[state]];
  // Node's monotonic clock is the one that systemd means, CLOCK_MONOTONIC.
  return [STATES.reloading, `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`];
}
