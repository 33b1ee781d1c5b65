// A member of a work group: which of its messages are done or have failed, and what the broker is sent about them.

import { DEFAULT_ACK_WAIT, MAX_ACK_RANGES } from '../messages/messages.js';
import type { ReceivedMessage } from './received-message.js';
import { type Progress, Unacknowledged } from './unacknowledged.js';

/** Sends the broker what became of messages. */
export interface WorkGroupTransport {
  /**
   * @param position all messages that this client has before it are done
   * @param done messages after it that are done: ranges of offsets. Default: none.
   */
  acknowledge(position: string, done?: Progress['done']): void;
  /**
   * @param position of the message that has failed
   * @param delay time until it is redelivered, in ms. Default: that of the broker.
   */
  giveBack(position: string, delay: number | undefined): void;
}

export class WorkGroupProgress {
  readonly #transport: WorkGroupTransport;
  readonly #isAutomatic: boolean;
  /** Time without an acknowledgement after which a message counts as failed, in ms. */
  readonly #ackWait: number;
  readonly #unacknowledged = new Unacknowledged();
  /** The message that the loop or the listener is working on, with `ack: 'auto'`. */
  #current: ReceivedMessage | undefined;
  /** Of the broker's log. */
  #epoch = '';
  /** Whether what is done is sent at the end of this turn of the event loop. */
  #isScheduled = false;
  #isEnded = false;
  /** Gives back what was skipped for too long. */
  #skipTimer: NodeJS.Timeout | undefined;
  /** When the application has last shown that it is working, in ms. */
  #workingAt = 0;

  /** @param isAutomatic whether a message is done as soon as the loop asks for the next one, or the listener returns */
  constructor(transport: WorkGroupTransport, isAutomatic: boolean, ackWait = DEFAULT_ACK_WAIT) {
    this.#transport = transport;
    this.#isAutomatic = isAutomatic;
    this.#ackWait = ackWait;
  }

  /** The broker has begun at a position. */
  onStart(position: string): void {
    this.#epoch = position.slice(0, position.indexOf(':'));
  }

  /** The connection is lost: the broker delivers all messages that are not acknowledged again. */
  onDisconnected(): void {
    this.#unacknowledged.clear();
  }

  /** The broker has delivered the messages after this together. */
  endDelivery(): void {
    this.#unacknowledged.endDelivery();
  }

  /** The loop or the listener gets a message. */
  handOut(event: ReceivedMessage): void {
    if (event.offset !== undefined) this.#unacknowledged.add(event.offset, performance.now());
    if (this.#isAutomatic) this.#current = event;
  }

  /** The loop or the listener has finished its message. */
  finishCurrent(): void {
    const event = this.#current;
    this.#current = undefined;
    if (event !== undefined) this.settle(event);
  }

  /** The listener has thrown. */
  failCurrent(): void {
    const event = this.#current;
    this.#current = undefined;
    if (event !== undefined) this.giveBack(event, undefined);
  }

  /** A message is done. */
  settle({ offset }: ReceivedMessage): void {
    if (offset === undefined) return;
    this.#unacknowledged.settle(offset);
    this.#sendSoon();
  }

  /** All messages that were handed out are done. */
  settleAll(): void {
    this.#unacknowledged.settleAll();
    this.#sendSoon();
  }

  /** A message has failed. @param delay time until it is redelivered, in ms. Default: that of the broker. */
  giveBack({ offset }: ReceivedMessage, delay: number | undefined): void {
    if (offset !== undefined) this.#giveBack(offset, delay);
  }

  /** Shows the broker that a message takes long. */
  working(): void {
    this.#workingAt = performance.now();
    this.#transport.acknowledge(this.#positionOf(0));
  }

  /**
   * Sends what is done. What is done later is sent at once, since the client unsubscribes then. No message is watched any
   * more.
   */
  end(): void {
    this.send();
    this.#isEnded = true;
    clearTimeout(this.#skipTimer);
  }

  #giveBack(offset: number, delay: number | undefined): void {
    // The broker has given all messages to others already, which is no failure.
    if (this.#isEnded) return;
    this.#transport.giveBack(this.#positionOf(offset), delay);
    this.#unacknowledged.giveBack(offset);
    this.#sendSoon();
  }

  #positionOf(offset: number): string {
    return `${this.#epoch}:${offset}`;
  }

  /** Many messages may be done in one turn of the event loop: the broker is sent them together. */
  #sendSoon(): void {
    if (this.#isEnded) return this.send();
    if (!this.#isScheduled) setImmediate(() => this.send());
    this.#isScheduled = true;
  }

  /** Sends what is done. */
  send(): void {
    this.#isScheduled = false;
    const { position, done } = this.#unacknowledged.take();
    for (
      let [from, before] = [0, position];
      before !== undefined || from < done.length;
      from += MAX_ACK_RANGES, before = undefined
    ) {
      // The position 0 covers no message.
      const ranges = done.slice(from, from + MAX_ACK_RANGES);
      this.#transport.acknowledge(this.#positionOf(before ?? 0), ranges);
    }
    if (done.length > 0) this.#watchSkipped();
  }

  /** The broker cannot know that a message was forgotten, as long as others are acknowledged, or none is left. */
  #watchSkipped(): void {
    if (this.#isEnded) return;
    this.#skipTimer ??= setTimeout(() => {
      this.#skipTimer = undefined;
      const before = performance.now() - this.#ackWait;
      const late = this.#workingAt > before ? [] : this.#unacknowledged.skipped(before);
      for (const offset of late) this.#giveBack(offset, undefined);
      if (this.#unacknowledged.skipped().length > 0) this.#watchSkipped();
    }, this.#ackWait).unref();
  }
}
