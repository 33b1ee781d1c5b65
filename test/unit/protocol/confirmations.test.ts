import { expect, test } from 'vitest';
import type { MessageLog } from '#src/log/message-log.js';
import { Confirmations } from '#src/protocol/confirmations.js';
import type { Peer } from '#src/protocol/peer.js';

test('each withheld pong has the number of messages that were rejected, or had no recipient, before its ping', () => {
  const log = { durable: 0, sync: () => {} };
  const confirmations = new Confirmations<Peer>(log as unknown as MessageLog, 10);
  const replies: unknown[] = [];
  const reply = (line: Buffer) => replies.push(JSON.parse(line.toString()).data);
  const counts = { messagesRejected: 0, undeliverable: 0 };
  const connection = { isOpen: true, loggedEnd: 1, withheldPongs: 0, ...counts, reply };
  for (const [messagesRejected, undeliverable] of [
    [0, 0],
    [0, 0],
    [2, 0],
    [2, 1],
  ]) {
    Object.assign(connection, { messagesRejected, undeliverable });
    confirmations.answer(connection as unknown as Peer);
  }
  log.durable = 1;
  confirmations.release();
  expect(replies).toEqual([{}, {}, { rejected: 2 }, { rejected: 3 }]);
  expect(connection.withheldPongs).toBe(0);
});

test('a ping that is settled after its connection is closed is not kept until its messages are durable', async () => {
  const log = { durable: 0, sync: () => {} } as unknown as MessageLog;
  const confirmations = new Confirmations<Peer>(log, 10);
  const connection = { isOpen: true, loggedEnd: 1, withheldPongs: 0, reply: () => {} };
  const peer = connection as unknown as Peer;
  confirmations.answer(peer);
  expect(connection.withheldPongs).toBe(1);
  connection.isOpen = false;
  confirmations.forget(peer);
  // Nor is it paused for them.
  expect(connection.withheldPongs).toBe(0);
  confirmations.answer(peer);
  expect(connection.withheldPongs).toBe(0);
  await confirmations.whenAnswered(peer);
});
