// What a client tells: its states, its events, its figures.

import type { SluiceError } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import type { BrokerError } from './broker-session.js';
import type { ReceivedMessage } from './received-message.js';

/**
 * `idle`: not connected yet. `connecting`: {@link SluiceClient.connect} is at it. `reconnecting`: the connection was
 * lost, and another is tried. `closing`: {@link SluiceClient.close} waits for the broker. `closed`: for good.
 */
export type ClientState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closing' | 'closed';

/** Events of a client. */
export interface ClientEvents {
  /** The broker has taken the client; subscriptions are asked for again, and so on from there. */
  connected: [
    event: {
      /** What the broker said in answer to `hello`, when one was said. */
      welcome: MessageMap['welcome']['data'] | undefined;
      /** Whether there was a connection before. */
      isReconnect: boolean;
      /** How many unconfirmed publications are sent again: the broker may get them twice. */
      resent: number;
    },
  ];
  /** The connection was lost. What follows is `reconnecting`, or `closed`. */
  disconnected: [event: { error: SluiceError }];
  /** Another attempt is made in `delay` ms; `attempt` counts from 1. */
  reconnecting: [event: { attempt: number; delay: number }];
  /** The broker's `error` message. `line` counts the lines that were published, from 1. */
  rejected: [error: BrokerError];
  /** After `publish` has returned false: there is room again. */
  drain: [];
  /** A forwarded message as the broker sent it, without the newline. */
  line: [line: Buffer];
  /** A forwarded message: one that was subscribed to, or an application's for this crawler. */
  message: [event: ReceivedMessage];
  /** The client is closed for good; `error` says why, when that was not asked for. */
  closed: [error: SluiceError | undefined];
}

/** Figures of a client. A publication is what one call of `publish` or `publishRaw` took. */
export interface ClientStatistics {
  /** Publications that the broker has read and checked. */
  readonly confirmed: number;
  /** Publications that wait: to be written, or for the broker's confirmation. */
  readonly unconfirmed: number;
  /** Publications that were sent again after a reconnection. */
  readonly resent: number;
  /** Bytes of the unconfirmed ones. */
  readonly outboxBytes: number;
  /** Connections made so far. */
  readonly connections: number;
}

/**
 * Throws an error when what is under way is done. What an application's function has thrown is the application's to see,
 * as an uncaught exception. But it is not thrown where it was called: there, more of what the broker has sent is to be
 * told, and to be confirmed.
 */
export function rethrowLater(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
