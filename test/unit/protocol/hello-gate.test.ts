import type { SocketConnection } from 'sluice';
import { describe, expect, test } from 'vitest';
import { PAUSE } from '#src/connection/connection-state.js';
import { sharePlainBroker, startPlainBroker, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import type { Peer } from '../../support/peer.js';

const [APP, CRAWLER] = ['a-token-of-an-application', 'a-token-of-a-crawler'];
const tokens = { app: [APP], crawler: [CRAWLER] };
const hello = (token: string, role = 'crawler') => line({ type: 'hello', data: { role, token } });
const beat = line(VALID.heartbeat);

describe('where crawlers need a token, a peer that has not sent hello', () => {
  const broker = sharePlainBroker({ auth: { tokens } });

  test.each([
    ['an invalid message', '{"type":"job_progress","data":{"stage":"CANARY"}}\n'],
    ['text that is not JSON', 'CANARY\n'],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0x7d, 0x0a])],
    ['a hello that breaks its schema', '{"type":"hello","data":{"role":"CANARY"}}\n'],
    [
      'a hello longer than 64 KB',
      line({ type: 'hello', data: { role: 'crawler', token: CRAWLER, pad: 'x'.repeat(65_536) } }),
    ],
    ['null', 'null\n'],
    ['a list', '[]\n'],
    ['the beginning of a long message', `{"type":"hello","pad":"${'x'.repeat(100_000)}`],
  ])('is closed at %s, and hears no more than that it is not allowed', async (_, bytes) => {
    const { manager, connect } = broker();
    const monitor = await connect();
    monitor.write(hello(APP, 'app'));
    await monitor.subscribe({ types: ['rejected', '*'] });
    const { batches, inlineBatches } = manager.getMetrics().dispatch;
    const peer = await connect();
    peer.write(bytes);
    peer.write(beat);
    await peer.closed;
    expect(peer.messages).toMatchObject([{ type: 'error', data: { code: 'UNAUTHORIZED' } }]);
    expect(peer.messages[0]?.data.issues).toBeUndefined();
    // No worker has seen any of it.
    expect(manager.getMetrics().dispatch).toMatchObject({ batches, inlineBatches });
    await monitor.settled();
    expect(monitor.forwarded).toEqual([]);
  });

  test('may send the hello in pieces, after blanks, and messages right behind it, with nothing between them', async () => {
    const { connect } = broker();
    const monitor = await connect();
    monitor.write(hello(APP, 'app'));
    await monitor.subscribe();
    const peer = await connect();
    const text = `\n \r\n${hello(CRAWLER).trim()}${beat.trim()}{"type":"heartbeat"}\n${beat}`;
    for (const part of [text.slice(0, 20), text.slice(20, 21), text.slice(21)]) {
      await new Promise<void>((resolve) => peer.socket.write(part, () => resolve()));
    }
    await monitor.count(4);
    expect(monitor.forwarded.map(({ type }) => type)).toEqual(['heartbeat', 'heartbeat']);
    await peer.settled();
    expect(peer.messages.map(({ type }) => type)).toEqual(['welcome', 'error', 'pong']);
    expect((await peer.next('error')).data).toMatchObject({ code: 'SCHEMA_VIOLATION', line: 3 });
  });
});

test('a peer that stays silent, or sends blanks, is closed after helloTimeout; others are not', async () => {
  const { manager, connect } = await startPlainBroker({ auth: { tokens }, helloTimeout: 100 });
  const crawler = await connect();
  crawler.write(hello(CRAWLER));
  await crawler.next('welcome');
  const peers = [await connect(), await connect()];
  const timer = setInterval(() => peers[1]?.write('\n'), 10);
  await Promise.all(peers.map(({ closed }) => closed));
  clearInterval(timer);
  for (const { errors } of peers) expect(errors).toEqual(['UNAUTHORIZED']);
  await crawler.settled();
  expect(manager.getConnectionPool().size).toBe(1);
});

test('who is not read in the meantime is not closed after helloTimeout, but once it was read for so long', async () => {
  const { manager, connect } = await startPlainBroker({ auth: { tokens }, helloTimeout: 20 });
  const paused: SocketConnection[] = [];
  manager.on('connection_added', ({ connection }) => {
    connection.setPaused(PAUSE.SERVER, true);
    paused.push(connection);
  });
  const [prompt, silent] = [await connect(), await connect()];
  prompt.write(hello(CRAWLER));
  const start = performance.now();
  await until(() => performance.now() - start > 60);
  for (const connection of paused) connection.setPaused(PAUSE.SERVER, false);
  await prompt.next('welcome');
  await silent.closed;
  expect([prompt.errors, silent.errors]).toEqual([[], ['UNAUTHORIZED']]);
});

test('who needs no token may stay silent', async () => {
  const { manager, connect } = await startPlainBroker({ auth: { tokens: { app: [APP] } }, helloTimeout: 20 });
  const removed: string[] = [];
  manager.on('connection_removed', ({ reason }) => removed.push(reason));
  const peer = await connect();
  await new Promise((resolve) => setTimeout(resolve, 100));
  await peer.settled();
  expect(removed).toEqual([]);
});

test('after too many wrong tokens in one second, further ones are rate-limited, and a right one is accepted', async () => {
  const { connect } = await startPlainBroker({ auth: { tokens } });
  const tries = async (token: string): Promise<Peer> => {
    const peer = await connect();
    peer.write(hello(token));
    await peer.count(1);
    return peer;
  };
  const codes = new Set<string | undefined>();
  for (let round = 0; !codes.has('RATE_LIMITED'); round++) {
    codes.add((await tries(`a-wrong-token-${round}`)).errors[0]);
  }
  expect([...codes]).toEqual(['UNAUTHORIZED', 'RATE_LIMITED']);
  expect((await tries(CRAWLER)).errors).toEqual([]);
});
