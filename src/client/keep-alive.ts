// Finds out that a broker is silent: a process that is stopped or hangs, a host that has gone without closing.
//
// Time is counted in steps, each a timer of its own. When the event loop stands still, at most one step passes,
// however long that takes: the broker is not held responsible for what the application did not let the client read.

export interface KeepAliveOptions {
  /** ms of silence after which the broker is pinged; 0: never. */
  readonly pingInterval: number;
  /** ms of silence after the ping after which the broker counts as lost. */
  readonly pingTimeout: number;
}

/** Steps that each of the two times has. */
const STEPS = 5;

export class KeepAlive {
  readonly #options: KeepAliveOptions;
  readonly #ping: () => void;
  readonly #onSilent: () => void;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  /** Whether anything was received since the latest step. */
  #hasReceived = false;
  #silentSteps = 0;
  #isPinged = false;

  /**
   * @param ping asks the broker for any answer
   * @param onSilent called when there was none
   */
  constructor(options: KeepAliveOptions, ping: () => void, onSilent: () => void) {
    this.#options = options;
    this.#ping = ping;
    this.#onSilent = onSilent;
  }

  /** Counts from now on, and from the beginning. */
  start(): void {
    this.stop();
    if (this.#options.pingInterval !== 0) this.#schedule();
  }

  /** Counts no more: nothing is read, or nothing is expected. */
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#hasReceived = false;
    this.#silentSteps = 0;
    this.#isPinged = false;
  }

  /** Bytes have come. */
  onReceived(): void {
    if (this.#isPinged) this.start();
    else this.#hasReceived = true;
  }

  #schedule(): void {
    const { pingInterval, pingTimeout } = this.#options;
    const step = Math.ceil((this.#isPinged ? pingTimeout : pingInterval) / STEPS);
    this.#timer = setTimeout(this.#onStep, step).unref();
  }

  readonly #onStep = (): void => {
    this.#silentSteps = this.#hasReceived ? 0 : this.#silentSteps + 1;
    this.#hasReceived = false;
    if (this.#silentSteps === STEPS) {
      // What has arrived is read first: immediates run after the poll for it.
      if (this.#isPinged) {
        this.#immediate = setImmediate(this.#onSilent);
        return;
      }
      this.#isPinged = true;
      this.#silentSteps = 0;
      this.#ping();
    }
    this.#schedule();
  };
}
