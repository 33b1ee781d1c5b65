// States, events and statistics of a client.

import type { SluiceError } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import type { BrokerError, LogGap } from './broker-session.js';
import type { ReceivedMessage } from './received-message.js';

/**
 * `idle`: not connected yet. `connecting`: {@link SluiceClient.connect} is pending. `reconnecting`: the connection was
 * lost and the client reconnects. `closing`: {@link SluiceClient.close} waits for the broker. `closed`: for good.
 */
export type ClientState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closing' | 'closed';

/** Events of a client. */
export interface ClientEvents {
  /** The broker has accepted the client; subscriptions and pending job requests have been sent again. */
  connected: [
    event: {
      /** The broker's reply to `hello`, if one was sent. */
      welcome: MessageMap['welcome']['data'] | undefined;
      /** Whether the client was connected before. */
      isReconnect: boolean;
      /** Number of unconfirmed publications that are resent; the broker may get them twice. */
      resent: number;
    },
  ];
  /** The connection was lost. `reconnecting` or `closed` follows. */
  disconnected: [event: { error: SluiceError }];
  /** The next attempt starts in `delay` ms; `attempt` counts from 1. */
  reconnecting: [event: { attempt: number; delay: number }];
  /**
   * The broker's `error` message. `line` counts published lines, from 1. Without a listener, the first rejected messages
   * cause a process warning with the code `SLUICE_REJECTED`; a subscription that is rejected after a reconnect causes
   * `SLUICE_SUBSCRIPTION_REJECTED`, unless its loop throws the error. One that is retried may be rejected repeatedly.
   */
  rejected: [error: BrokerError];
  /**
   * A subscription names types that the broker knows as no type of crawlers' messages: nothing will arrive for them.
   * Without a listener, the client emits a warning of the process (`SLUICE_UNKNOWN_TYPE`), which Node prints.
   */
  unknown_types: [event: { types: readonly string[] }];
  /**
   * Messages between two positions of the broker's durable log are missing. `reason`: `removed` because they were too old
   * or there was no room for them, `damaged` on the disk, `epoch` because the position belongs to another log. `id` is
   * that of the subscription. Without a listener, the client emits a warning of the process (`SLUICE_GAP`), which Node
   * prints.
   */
  gap: [gap: LogGap];
  /** There is room in the outbox again after `publish` returned false. */
  drain: [];
  /** A forwarded message as the broker sent it, without the newline. */
  line: [line: Buffer];
  /** A forwarded message: one that matches a subscription, or an application's message to this crawler. */
  message: [event: ReceivedMessage];
  /** The client is closed for good. `error` is the reason, unless `close` was called. */
  closed: [error: SluiceError | undefined];
}

/** Statistics of a client. A publication is the data of one `publish` or `publishRaw` call. */
export interface ClientStatistics {
  /** Publications that the broker has read and checked. */
  readonly confirmed: number;
  /** Publications that are not written or not confirmed yet. */
  readonly unconfirmed: number;
  /**
   * `error` messages of the broker about messages that it rejected, on all connections; without those that answer a
   * request of this client, such as `subscribe`, or announce that the connection closes. One may stand for several
   * messages, and the broker sends at most its `maxErrorReplies` per second.
   */
  readonly rejected: number;
  /** Publications that were resent after a reconnect. */
  readonly resent: number;
  /** Bytes of the unconfirmed publications. */
  readonly outboxBytes: number;
  /** Connections made so far. */
  readonly connections: number;
}

/**
 * Rethrows an error of an application's function in the next tick, as an uncaught exception. Thrown in place, it would
 * interrupt the client: further messages that were received with it would not be emitted or confirmed.
 */
export function rethrowLater(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
