// A connection that receives messages, as routing sees it.

import type { Assignee, Piece } from '../delivery/outbox.js';

export interface Subscriber {
  readonly id: string;
  /** Whether messages can still be sent to it. Default: true. */
  readonly isOpen?: boolean;
  /** Whether it can queue `bytes`, after `ahead` other bytes, without falling behind. Default: always. */
  hasRoom?(bytes: number, ahead: number): boolean;
  /**
   * Sends it a piece.
   * @param member the member of a queue group that the messages are assigned to
   * @param isTakenOver whether the messages were queued for another member before
   */
  deliver(piece: Piece, member?: Assignee, isTakenOver?: boolean): void;
}

/** Whether a subscriber can queue `bytes`, after `ahead` other bytes, without falling behind. */
export function hasRoom(subscriber: Subscriber, bytes: number, ahead: number): boolean {
  return subscriber.hasRoom?.(bytes, ahead) ?? true;
}
