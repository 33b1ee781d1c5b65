// The cursor of a subscription: the broker remembers under its name up to which position the messages are handled.

export class Cursor {
  readonly #acknowledge: (position: string) => boolean;
  /** Where it is to be. */
  #target: string | undefined;
  /** The latest position that was sent on this connection. */
  #sent: string | undefined;
  /** The latest position that the broker has sent on this connection. */
  #reached: string | undefined;

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
    this.#send();
  }

  /** All messages before a position are handled. */
  moveTo(position: string): void {
    this.#target = position;
    this.#send();
  }

  /** The broker has rejected a position: the next one is sent. */
  onRejected(): void {
    this.#target = undefined;
    this.#sent = undefined;
  }

  /** The connection is lost, and perhaps the latest position with it. */
  onDisconnected(): void {
    this.#sent = undefined;
    this.#reached = undefined;
  }

  /** Sends the target, as soon as the broker has sent the messages before it on this connection. */
  #send(): void {
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
