// Closes and logs stalled peers: those that do not read what they are sent, or do not complete a message. Also pings
// peers that wait because of the broker, so that they know it is alive.

import { brokerLine } from '../protocol/outgoing.js';
import type { SocketConnection } from './socket-connection.js';
import type { WarningLogger } from './warning-logger.js';

/**
 * Closes peers that do not read what they are sent, except for those with overflow policy `block` or `log`.
 * @param timeout ms that one write may take; 0 disables the limit
 */
export function closeStalled(
  connections: Iterable<SocketConnection>,
  timeout: number,
  warnings: WarningLogger,
): void {
  if (timeout === 0) return;
  const now = performance.now();
  for (const connection of [...connections]) {
    const { policy, pendingBytes } = connection.outbox;
    if (policy === 'block' || policy === 'log' || connection.outbox.stalledFor(now) <= timeout) continue;
    warnings.record('connection stalled', connection, policy, () => ({ pendingBytes }));
    connection.recordError('SLOW_CONSUMER');
    connection.destroy('SLOW_CONSUMER');
  }
}

/**
 * Closes peers that do not complete a message in time.
 * @param timeout ms that a message may take; 0 disables the limit
 * @param onClosing called with each peer before it is closed, to send it the reason
 */
export function closePartial(
  connections: Iterable<SocketConnection>,
  timeout: number,
  warnings: WarningLogger,
  onClosing: (connection: SocketConnection) => void,
): void {
  if (timeout === 0) return;
  const latest = performance.now() - timeout;
  const reason = 'partial_message';
  for (const connection of [...connections]) {
    const { isPausedByBroker, partialSince } = connection;
    if (isPausedByBroker || (partialSince ?? Number.POSITIVE_INFINITY) > latest) continue;
    warnings.record('message not completed in time', connection, reason, () => ({ reason }));
    onClosing(connection);
    void connection.disconnect(reason);
  }
}

/**
 * Pings peers whose messages are not read, not validated or not durable yet. They get no `pong` in the meantime, and a client that
 * receives nothing would consider the broker dead. Skips peers that already have bytes to receive, and plain crawlers,
 * which do not know the broker's own messages.
 */
export function pingWaiting(connections: Iterable<SocketConnection>, delimiter: number): void {
  for (const connection of connections) {
    const { isPaused, lane, hasPinged, version, outbox, withheldPongs } = connection;
    if (!isPaused && lane.pendingBytes === 0 && withheldPongs === 0) continue;
    if ((!hasPinged && version === undefined) || outbox.pendingBytes > 0) continue;
    connection.reply(brokerLine('ping', {}, delimiter));
    connection.flush();
  }
}
