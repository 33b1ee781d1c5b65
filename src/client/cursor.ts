// The cursor of a subscription: the broker remembers under its name up to which position the messages are handled.

export class Cursor {
  readonly #acknowledge: (position: string) => boolean;
  /** Where it is to be. */
  #target: string | undefined;
  /** The latest position that was sent on this connection. */
  #sent: string | undefined;
  /** The latest position that the broker has sent on this connection. */
  #reached: string | undefined;
  /** Whether the target is sent at the end of this turn of the event loop. */
  #isScheduled = false;
  #isEnded = false;

  /** @param acknowledge sends the broker a position; returns whether there is a connection to send it on */
  constructor(acknowledge: (position: string) => boolean) {
    this.#acknowledge = acknowledge;
  }

  /** The broker has begun at a position, on a new connection. */
  onStart(position: string): void {
    this.#reached = position;
    if (this.#target !== undefined && !isBeyond(this.#target, position)) this.#target = undefined;
  }

  /** The broker has sent the messages before a position. */
  onReached(position: string): void {
    this.#reached = position;
    this.#sendSoon();
  }

  /** The application acknowledges a position. It is sent before what the application sends next. */
  moveTo(position: string): void {
    this.#target = position;
    this.send();
  }

  /** All messages before a position are handled. */
  onHandled(position: string): void {
    this.#target = position;
    this.#sendSoon();
  }

  /** The broker has rejected a position: the next one is sent. */
  onRejected(): void {
    // A later one may not have been sent yet.
    if (this.#target === this.#sent) this.#target = undefined;
    this.#sent = undefined;
  }

  /** The connection is lost, and perhaps the latest position with it. */
  onDisconnected(): void {
    this.#sent = undefined;
    this.#reached = undefined;
  }

  /** Sends the target: the subscription ends, and perhaps the connection. */
  end(): void {
    this.#isEnded = true;
    this.send();
  }

  /** Many positions may be passed in one turn of the event loop: the broker is sent the last one. */
  #sendSoon(): void {
    if (this.#isEnded) return this.send();
    if (!this.#isScheduled) setImmediate(() => this.send());
    this.#isScheduled = true;
  }

  /** Sends the target, as soon as the broker has sent the messages before it on this connection. */
  send(): void {
    this.#isScheduled = false;
    const [target, reached] = [this.#target, this.#reached];
    if (target === undefined || target === this.#sent) return;
    if (reached === undefined || isBeyond(target, reached)) return;
    if (this.#acknowledge(target)) this.#sent = target;
  }
}

/** Whether a position is after another one of the same log, or of the same fleet. */
function isBeyond(position: string, other: string): boolean {
  const [[log, offset], [otherLog, otherOffset]] = [position.split(':'), other.split(':')];
  return log === otherLog && Number(offset) > Number(otherOffset);
}
