import { expect, test } from 'vitest';
import type { DeadLetters } from '#src/log/dead-letters.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import type { Peer } from '#src/protocol/peer.js';
import type { RejectedMessage } from '#src/protocol/rejected-message.js';
import { RejectionHandler } from '#src/protocol/rejection-handler.js';
import { ReplyLimiter } from '#src/protocol/reply-limiter.js';
import { Subscriptions } from '#src/routing/subscriptions.js';

const NEWLINE = 0x0a;

/** A handler whose rejections code in this process listens to. */
function createHandler(deadLetters?: DeadLetters) {
  const clock = { now: 0 };
  const rejections: RejectedMessage<Peer>[] = [];
  const handler = new RejectionHandler<Peer>(
    { delimiter: NEWLINE, maxErrorReplies: 10, maxMessageSize: 1000 },
    new Subscriptions(MessageRegistry.builtin()),
    deadLetters,
    new ReplyLimiter(10, NEWLINE),
    {
      onRejected: (rejection) => rejections.push(rejection),
      onRejectedCount() {},
      hasListener: () => true,
    },
    () => clock.now,
  );
  const reject = (connection: Peer, count: number) => {
    for (let line = 0; line < count; line++)
      handler.reject(
        connection,
        { code: 'INVALID_JSON', type: undefined, issues: [], offset: 0, line },
        Buffer.from('junk'),
      );
  };
  return { clock, handler, rejections, reject };
}

const createPeer = () => ({ line: 0, recordRejected() {}, reply() {} }) as unknown as Peer;

test('rejected messages of many peers are reported within a limit for all, of which each has a share', () => {
  const { clock, handler, rejections, reject } = createHandler();
  const peers = Array.from({ length: 40 }, createPeer);
  const reportsOf = (peer: Peer, from: number) =>
    rejections.slice(from).filter(({ connection }) => connection === peer).length;
  let before = 0;
  for (let second = 1; second <= 2; second++) {
    before = rejections.length;
    for (const peer of peers) reject(peer, 1500);
    expect(rejections.length - before).toBeLessThanOrEqual(2000);
    clock.now += 1000;
  }
  // In the first second, it was not known yet how many there are.
  const shares = peers.map((peer) => reportsOf(peer, before));
  expect(Math.min(...shares)).toBeGreaterThanOrEqual(20);
  expect(Math.max(...shares)).toBe(1000);
  for (const peer of peers) handler.forget(peer);
  expect(rejections.length + sum(rejections.map(({ suppressed }) => suppressed))).toBe(40 * 2 * 1500);
});

test('a rejected message that the dead letters have no room for is counted there, and its sample is not made', () => {
  let omitted = 0;
  const { reject, rejections } = createHandler({
    hasRoom: false,
    omit: (count: number) => {
      omitted += count;
    },
    keepsContent: () => false,
    addRejected: () => expect.fail('there is no room'),
  } as unknown as DeadLetters);
  reject(createPeer(), 1);
  expect(rejections).toHaveLength(1);
  expect(omitted).toBe(1);
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
