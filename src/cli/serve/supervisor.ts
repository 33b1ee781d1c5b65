// Notifies systemd of the broker's state if NOTIFY_SOCKET is set; see sd_notify(3). Node does not support Unix datagram
// sockets, so `systemd-notify` sends the notifications.

import { spawn } from 'node:child_process';
import type { Logger } from 'pino';
import { describeError } from '../../errors.js';
import type { SocketManager } from '../../server/socket-manager.js';

/** The notifications, as sd_notify(3) spells them. */
const STATES = { ready: 'READY=1', reloading: 'RELOADING=1', stopping: 'STOPPING=1' } as const;

type SupervisorState = keyof typeof STATES;

export class Supervisor {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #logger: Logger;
  #sent: Promise<void> = Promise.resolve();
  #isReady = false;

  /** @param environment contains NOTIFY_SOCKET, and is passed to systemd-notify */
  constructor(logger: Logger, environment: NodeJS.ProcessEnv = process.env) {
    this.#environment = environment;
    this.#logger = logger;
  }

  /** Resolves when every notification so far has been received or has failed. */
  get allSent(): Promise<void> {
    return this.#sent;
  }

  /** Notifies systemd when the broker is ready, and when it begins to stop. */
  follow(manager: SocketManager): void {
    manager.once('server_started', () => {
      this.#isReady = true;
      void this.notify('ready');
    });
    manager.once('server_stopping', () => {
      this.#isReady = false;
      void this.notify('stopping');
    });
  }

  /** Runs `work`. If the broker is ready, notifies systemd that it is reloading, and then that it is ready again. */
  whileReloading(work: () => void): void {
    if (!this.#isReady) return work();
    void this.notify('reloading');
    work();
    void this.notify('ready');
  }

  /**
   * Sends a notification, after all earlier ones. `reloading` must be followed by `ready`. Never rejects: the broker
   * keeps running if systemd cannot be notified.
   */
  notify(state: SupervisorState): Promise<void> {
    if (this.#environment.NOTIFY_SOCKET) this.#sent = this.#sent.then(() => this.#send(assignments(state)));
    return this.#sent;
  }

  #send(variables: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      const fail = (error: string) => {
        this.#logger.warn({ error }, 'systemd-notify failed: systemd does not know the state of the broker');
        resolve();
      };
      // systemd-notify exits when systemd has read the message, so that systemd can still identify the sender.
      const child = spawn('systemd-notify', variables, { stdio: 'ignore', env: this.#environment });
      child.once('error', (error) => fail(describeError(error)));
      child.once('exit', (code) => (code === 0 ? resolve() : fail(`exit code ${code}`)));
    });
  }
}

function assignments(state: SupervisorState): string[] {
  if (state !== 'reloading') return [STATES[state]];
  // process.hrtime reads the clock that systemd expects, CLOCK_MONOTONIC.
  return [STATES.reloading, `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`];
}
