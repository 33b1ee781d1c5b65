// Peers that hold something up: they do not take what they are sent, or do not end what they have begun to say.

import type { SocketConnection } from './socket-connection.js';

/**
 * Peers that do not take what they are sent, but for those that asked for `block`.
 * @param timeout ms that one write may take; 0: no limit
 */
export function stalledPeers(connections: Iterable<SocketConnection>, timeout: number): SocketConnection[] {
  if (timeout === 0) return [];
  const now = performance.now();
  return [...connections].filter(
    ({ outbox }) => outbox.policy !== 'block' && outbox.stalledFor(now) > timeout,
  );
}

/**
 * Peers that hold a message open.
 * @param timeout ms that a message may take; 0: no limit
 */
export function partialPeers(connections: Iterable<SocketConnection>, timeout: number): SocketConnection[] {
  if (timeout === 0) return [];
  const latest = performance.now() - timeout;
  return [...connections].filter(
    ({ isPaused, partialSince }) => !isPaused && (partialSince ?? Number.POSITIVE_INFINITY) <= latest,
  );
}
