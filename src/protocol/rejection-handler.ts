// Rejected messages: counts them, answers their senders, and reports them to subscribers of `rejected`, to the dead
// letters and to code in this process. Bounded, per connection and together, since faulty peers must not occupy the broker.

import type { RejectedFrame } from '../dispatch/verdict.js';
import type { WireErrorCode } from '../errors.js';
import type { DeadLetters } from '../log/dead-letters.js';
import type { Subscriptions } from '../routing/subscriptions.js';
import { deadLetterOfRejected } from './dead-letter.js';
import type { Peer } from './peer.js';
import { SAMPLE_BYTES } from './redaction.js';
import {
  MAX_DETAILED_REJECTIONS,
  MAX_DETAILED_TOTAL,
  RejectedMessage,
  rejectionPiece,
} from './rejected-message.js';
import type { ReplyLimiter } from './reply-limiter.js';
import { SharedLimiter } from './second-limiter.js';

export interface RejectionSettings {
  readonly delimiter: number;
  readonly maxErrorReplies: number;
  readonly maxMessageSize: number;
}

/** Code in this process that receives rejections. */
export interface RejectionListener<P extends Peer> {
  onRejected(rejection: RejectedMessage<P>): void;
  /**
   * Messages of one connection were rejected with the same code, whether or not they are reported individually.
   * @param details of the last of them, if they are known
   */
  onRejectedCount(
    connection: Peer,
    code: WireErrorCode,
    count: number,
    details: RejectedFrame | undefined,
  ): void;
  /** Whether rejections are listened to. */
  hasListener(event: 'rejected'): boolean;
}

/** A rejected message, or one that is forwarded anyway. */
interface ReportedFrame extends RejectedFrame {
  readonly isForwarded?: boolean;
}

/** @typeParam P the type of connections */
export class RejectionHandler<P extends Peer> {
  readonly #settings: RejectionSettings;
  readonly #subscriptions: Subscriptions;
  readonly #deadLetters: DeadLetters | undefined;
  readonly #replies: ReplyLimiter;
  readonly #listener: RejectionListener<P>;
  readonly #detailed: SharedLimiter<P>;
  /** Rejected messages that were only counted since the last reported one, by connection. */
  readonly #suppressed = new Map<P, { count: number; latest: ReportedFrame }>();
  readonly #rejected = new Map<WireErrorCode, number>();
  readonly #forwarded = new Map<WireErrorCode, number>();

  /**
   * @param deadLetters where they are kept, if there is a durable log
   * @param now monotonic clock in ms. Default: `performance.now`.
   */
  constructor(
    settings: RejectionSettings,
    subscriptions: Subscriptions,
    deadLetters: DeadLetters | undefined,
    replies: ReplyLimiter,
    listener: RejectionListener<P>,
    now?: () => number,
  ) {
    this.#detailed = new SharedLimiter(MAX_DETAILED_REJECTIONS, MAX_DETAILED_TOTAL, now);
    this.#settings = settings;
    this.#subscriptions = subscriptions;
    this.#deadLetters = deadLetters;
    this.#replies = replies;
    this.#listener = listener;
  }

  /** Number of messages by code: rejected ones, and those that were forwarded anyway. */
  get statistics(): { rejected: Record<string, number>; reported: Record<string, number> } {
    return { rejected: Object.fromEntries(this.#rejected), reported: Object.fromEntries(this.#forwarded) };
  }

  /** Whether rejected messages are reported to anyone other than their sender. */
  get areReported(): boolean {
    return (
      this.#subscriptions.rejectedSubscribers.size > 0 ||
      this.#deadLetters?.hasRoom === true ||
      this.#listener.hasListener('rejected')
    );
  }

  /** Maximum number of rejected messages with issues per range: more would be neither sent nor reported. */
  get maxDetailed(): number {
    return this.areReported ? MAX_DETAILED_REJECTIONS : this.#settings.maxErrorReplies;
  }

  /** Whether the next rejected message of a connection would be answered or reported, not only counted. */
  hasRoom(connection: P): boolean {
    return this.#replies.hasRoom(connection) || (this.areReported && this.#detailed.hasRoom(connection));
  }

  /** Only counts messages. */
  count(connection: Peer, code: WireErrorCode, count: number, details?: RejectedFrame): void {
    this.#rejected.set(code, (this.#rejected.get(code) ?? 0) + count);
    connection.recordRejected(code, count);
    this.#listener.onRejectedCount(connection, code, count, details);
  }

  /** Counts and answers rejected messages without reporting them to subscribers of `rejected`. */
  rejectUnreported(connection: Peer, code: WireErrorCode, messageType: string | undefined, count = 1): void {
    this.count(connection, code, count);
    this.#replies.reply(connection, code, { messageType });
  }

  /**
   * Counts, answers and reports a message.
   * @param message its bytes, if they are known: they are only used for reports
   */
  reject(connection: P, rejection: RejectedFrame, message: Buffer | undefined): void {
    const { code, type, issues, offset } = rejection;
    const details = placed(connection, rejection);
    this.count(connection, code, 1, details);
    this.#replies.reply(connection, code, { messageType: type, line: details.line, offset, issues });
    if (this.areReported) this.#reportOrCount(connection, details, message);
    else this.#deadLetters?.omit(1);
  }

  /** Counts messages rejected for the same reason, without replies or reports. @param last the last of them */
  suppress(connection: P, last: RejectedFrame, count: number): void {
    const latest = placed(connection, last);
    this.count(connection, last.code, count, latest);
    this.#replies.suppress(count);
    this.#deadLetters?.omit(count);
    if (!this.areReported) return;
    const suppressed = this.#suppressed.get(connection);
    this.#suppressed.set(connection, { count: (suppressed?.count ?? 0) + count, latest });
  }

  /** Reports a message that breaks the contract and is forwarded anyway. Its sender gets no reply. */
  reportForwarded(connection: P, frame: RejectedFrame, message: Buffer): void {
    this.#forwarded.set(frame.code, (this.#forwarded.get(frame.code) ?? 0) + 1);
    if (!this.areReported) return;
    this.#reportOrCount(connection, { ...placed(connection, frame), isForwarded: true }, message);
  }

  /** Reports what was only counted of a closed connection, all of whose messages are settled. */
  forget(connection: P): void {
    const suppressed = this.#suppressed.get(connection);
    this.#suppressed.delete(connection);
    if (suppressed !== undefined && this.areReported)
      this.#report(connection, suppressed.latest, undefined, suppressed.count - 1);
  }

  /** Reports a message, or counts it beyond the limit. */
  #reportOrCount(connection: P, rejection: ReportedFrame, message: Buffer | undefined): void {
    const suppressed = this.#suppressed.get(connection);
    if (this.#detailed.take(connection)) {
      this.#suppressed.delete(connection);
      this.#report(connection, rejection, message, suppressed?.count ?? 0);
      return;
    }
    if (rejection.isForwarded !== true) this.#deadLetters?.omit(1);
    this.#suppressed.set(connection, { count: (suppressed?.count ?? 0) + 1, latest: rejection });
  }

  #report(
    connection: P,
    { code, type, issues, offset, line, isForwarded = false }: ReportedFrame,
    message: Buffer | undefined,
    suppressed: number,
  ): void {
    const { rejectedSubscribers } = this.#subscriptions;
    const bytes = message?.length ?? this.#settings.maxMessageSize;
    const details = {
      connection,
      code,
      messageType: type,
      issues,
      offset,
      bytes,
      line,
      suppressed,
      isForwarded,
    };
    // Copied, because the slab may be reused before the sample is read.
    const rejection = new RejectedMessage(details, Buffer.from(message?.subarray(0, SAMPLE_BYTES) ?? []));
    if (rejectedSubscribers.size > 0) {
      const piece = rejectionPiece(rejection, this.#settings.delimiter);
      for (const subscriber of rejectedSubscribers) subscriber.deliver(piece);
    }
    const deadLetters = isForwarded ? undefined : this.#deadLetters;
    if (deadLetters?.hasRoom === true) {
      const content = deadLetters.keepsContent(bytes) ? message : undefined;
      deadLetters.addRejected(deadLetterOfRejected(rejection, content));
    } else deadLetters?.omit(1);
    this.#listener.onRejected(rejection);
  }
}

/** With the line number in its connection's stream, from 1, instead of that in its range. */
function placed(connection: Peer, frame: RejectedFrame): RejectedFrame {
  return { ...frame, line: connection.line + frame.line + 1 };
}
