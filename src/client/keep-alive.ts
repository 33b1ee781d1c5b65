// Detects a silent broker: a process that is stopped or hangs, a host that disappeared without closing.
//
// Time is counted in steps, each with its own timer. While the event loop is blocked, at most one step passes, however
// long that takes: the broker does not count as silent because the application kept the client from reading.

export interface KeepAliveOptions {
  /** ms of silence until the broker is pinged; 0: never. */
  readonly pingInterval: number;
  /** ms of silence after the ping until the broker counts as lost. */
  readonly pingTimeout: number;
}

/** Number of steps in each of the two times. */
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
   * @param ping requests any answer from the broker
   * @param onSilent called if none arrives
   */
  constructor(options: KeepAliveOptions, ping: () => void, onSilent: () => void) {
    this.#options = options;
    this.#ping = ping;
    this.#onSilent = onSilent;
  }

  /** Starts counting from zero. */
  start(): void {
    this.stop();
    if (this.#options.pingInterval !== 0) this.#schedule();
  }

  /** Stops counting: nothing is read, or nothing is expected. */
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#hasReceived = false;
    this.#silentSteps = 0;
    this.#isPinged = false;
  }

  /** Data was received. */
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
      // Data that has already arrived is read first: immediates run after the poll phase.
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
