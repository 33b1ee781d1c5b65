// Peers that hold something up: they do not take what they are sent, or do not end what they have begun to say.
// They are closed, and the log says so. And peers that the broker holds up: they are told that it lives.

import type { Logger } from 'pino';
import { brokerLine } from '../protocol/outgoing.js';
import { connectionLogger } from './broker-logger.js';
import type { SocketConnection } from './socket-connection.js';

/**
 * Closes peers that do not take what they are sent, but for those that asked for `block`.
 * @param timeout ms that one write may take; 0: no limit
 */
export function closeStalled(connections: Iterable<SocketConnection>, timeout: number, log: Logger): void {
  if (timeout === 0) return;
  const now = performance.now();
  for (const connection of [...connections]) {
    const { policy, pendingBytes } = connection.outbox;
    if (policy === 'block' || connection.outbox.stalledFor(now) <= timeout) continue;
    connectionLogger(log, connection).warn({ pendingBytes }, 'connection is stalled');
    connection.recordError('SLOW_CONSUMER');
    connection.destroy('SLOW_CONSUMER');
  }
}

/**
 * Closes peers that hold a message open.
 * @param timeout ms that a message may take; 0: no limit
 * @param onClosing called with each before it is closed: the time to tell it why
 */
export function closePartial(
  connections: Iterable<SocketConnection>,
  timeout: number,
  log: Logger,
  onClosing: (connection: SocketConnection) => void,
): void {
  if (timeout === 0) return;
  const latest = performance.now() - timeout;
  const reason = 'partial_message';
  for (const connection of [...connections]) {
    const { isPaused, partialSince } = connection;
    if (isPaused || (partialSince ?? Number.POSITIVE_INFINITY) > latest) continue;
    connectionLogger(log, connection).warn({ reason }, 'the end of a message did not come');
    onClosing(connection);
    void connection.disconnect(reason);
  }
}

/**
 * Pings peers that get no `pong` for now, because what they have sent is not read or not validated yet: a client that
 * receives nothing would take the broker for dead. Not those that have something to receive already, nor plain crawlers,
 * which do not know the broker's own messages.
 */
export function pingWaiting(connections: Iterable<SocketConnection>, delimiter: number): void {
  for (const connection of connections) {
    const { isPaused, lane, hasPinged, version, outbox } = connection;
    if (!isPaused && lane.pendingBytes === 0) continue;
    if ((!hasPinged && version === undefined) || outbox.pendingBytes > 0) continue;
    connection.reply(brokerLine('ping', {}, delimiter));
    connection.flush();
  }
}
