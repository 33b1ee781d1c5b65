// Peers that hold something up: they do not take what they are sent, or do not end what they have begun to say.
// They are closed, and the log says so.

import type { Logger } from 'pino';
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
    connection.noteError('SLOW_CONSUMER');
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
