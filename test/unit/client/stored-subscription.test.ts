import { once } from 'node:events';
import { join } from 'node:path';
import { type ReceivedMessage, SluiceClient, type SubscriptionFilter } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { sharePlainBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { numbered, numberedBlock } from '../../support/numbered.js';
import { Peer } from '../../support/peer.js';
import { answerAsBroker, ScriptedBroker } from '../../support/scripted-broker.js';
import { share, type WhenOver } from '../../support/share.js';
import { collectUncaught } from '../../support/uncaught.js';

const shared = sharePlainBroker();

async function connectApp(socketPath: string): Promise<SluiceClient> {
  const client = new SluiceClient({
    socketPath,
    hello: { role: 'app' },
    reconnect: { initialDelay: 5, maxDelay: 20 },
  });
  onTestFinished(() => void client.close(0));
  return client.connect();
}

async function startDurable(whenOver?: WhenOver) {
  const log = join(temporaryFolder(whenOver), 'log');
  const broker = await startPlainBroker({ log }, whenOver);
  const publish = async (text: string) => {
    const peer = await Peer.connect(broker.socketPath);
    peer.write(text);
    await peer.settled();
    await peer.close();
  };
  return { ...broker, log, publish };
}

const numberOf = ({ message }: ReceivedMessage) => (message.data as { processed: number }).processed;

/** The numbers of the next messages, until the loop has to wait. */
async function take(client: SluiceClient, filter: SubscriptionFilter, count: number): Promise<number[]> {
  const subscription = await client.subscribe(filter);
  const numbers: number[] = [];
  for await (const event of subscription) if (numbers.push(numberOf(event)) === count) break;
  return numbers;
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

describe('from', () => {
  /** A broker with 50 messages in its log, to which no test adds any. */
  const withFifty = share(async (whenOver) => {
    const broker = await startDurable(whenOver);
    await broker.publish(numberedBlock(0, 0, 50));
    return broker;
  });

  test('first: all messages of the log, then new ones, each once and in order', async () => {
    const { socketPath, publish } = await startDurable();
    await publish(numberedBlock(0, 0, 50));
    const app = await connectApp(socketPath);
    const numbers: number[] = [];
    const subscription = await app.subscribe(
      { from: 'first' },
      (event) => void numbers.push(numberOf(event)),
    );
    await publish(numberedBlock(0, 50, 100));
    await until(() => numbers.length === 100);
    expect(numbers).toEqual(range(0, 100));
    await until(() => subscription.position?.endsWith(':100') === true);
  });

  test('new: none of the earlier messages', async () => {
    const { socketPath, publish, manager } = await startDurable();
    await publish(numberedBlock(0, 0, 50));
    const app = await connectApp(socketPath);
    const taken = take(app, { from: 'new' }, 5);
    await until(() => manager.getMetrics().protocol.subscriptions === 1);
    await publish(numberedBlock(0, 50, 60));
    expect(await taken).toEqual(range(50, 55));
  });

  test('an offset: begins in the middle of what one crawler has sent at once', async () => {
    const { socketPath } = withFifty();
    const app = await connectApp(socketPath);
    const first = await app.subscribe({ from: 'first' }, () => {});
    await until(() => first.position !== undefined);
    const [epoch] = (first.position ?? '').split(':');
    const other = await connectApp(socketPath);
    expect(await take(other, { from: { offset: `${epoch}:30` } }, 5)).toEqual(range(30, 35));
  });

  test('a time: begins with messages that were received since', async () => {
    const { socketPath, publish } = await startDurable();
    await publish(numberedBlock(0, 0, 50));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const time = new Date();
    await publish(numberedBlock(0, 50, 60));
    const app = await connectApp(socketPath);
    expect(await take(app, { from: { time } }, 5)).toEqual(range(50, 55));
  });

  test('a position of another log: a gap is told, and everything that is there follows', async () => {
    const { socketPath } = withFifty();
    const app = await connectApp(socketPath);
    const gaps: object[] = [];
    app.on('gap', (gap) => gaps.push(gap));
    expect(await take(app, { from: { offset: '00000000000000ff:30' } }, 5)).toEqual(range(0, 5));
    expect(gaps).toEqual([expect.objectContaining({ from: '00000000000000ff:30', reason: 'epoch' })]);
  });

  test('without a durable log: is rejected', async () => {
    const { socketPath } = shared();
    const app = await connectApp(socketPath);
    await expect(app.subscribe({ from: 'first' })).rejects.toMatchObject({ code: 'RULE_VIOLATION' });
  });
});

test('filters select the same messages from the log as from the live stream', async () => {
  const { socketPath, publish } = await startDurable();
  const filters: SubscriptionFilter[] = [
    {},
    { types: ['job_*'] },
    { types: ['heartbeat', 'job_started'] },
    { jobIds: ['job-1', 'job-4'] },
    { jobIds: ['job-2'], types: ['job_progress'] },
    { crawlerIds: ['c-1'] },
    { crawlerIds: ['c-2'], jobIds: ['job-3'], meta: true },
    { meta: true },
  ];
  const live = await Promise.all(
    filters.map(async (filter) => {
      const lines: string[] = [];
      const app = await connectApp(socketPath);
      await app.subscribe(filter, ({ line }) => void lines.push(line.toString()));
      return lines;
    }),
  );
  for (const crawlerId of ['c-1', 'c-2']) {
    const hello = line({ type: 'hello', data: { role: 'crawler', crawlerId } });
    const messages = range(0, 60).map((number) => {
      const { heartbeat, job_started, job_progress } = VALID;
      if (number % 7 === 0) return line(heartbeat);
      const type = number % 3 === 0 ? job_started : job_progress;
      return line({ ...type, jobId: `job-${number % 5}` });
    });
    // With and without delimiters.
    await publish(hello + messages.slice(0, 30).join('') + messages.slice(30).join('').replaceAll('\n', ''));
  }
  for (const [index, filter] of filters.entries()) {
    const app = await connectApp(socketPath);
    const lines: string[] = [];
    const offsets: (number | undefined)[] = [];
    await app.subscribe({ from: 'first', ...filter }, (event) => {
      lines.push(event.line.toString().replace(/"offset":\d+,/, ''));
      offsets.push(event.offset);
    });
    const expected = live[index] ?? [];
    expect(expected.length).toBeGreaterThan(0);
    await until(() => lines.length >= expected.length);
    expect(lines).toEqual(expected);
    const hasOffsets = filter.meta === true || filter.crawlerIds !== undefined;
    expect(offsets.every((offset) => (offset !== undefined) === hasOffsets)).toBe(true);
  }
});

describe('after a reconnect', () => {
  test('the subscription continues, and repeats at most what follows its position', async () => {
    const { socketPath, publish, manager, log } = await startDurable();
    await publish(numberedBlock(0, 0, 50));
    const app = await connectApp(socketPath);
    const numbers: number[] = [];
    const subscription = await app.subscribe(
      { from: 'first' },
      (event) => void numbers.push(numberOf(event)),
    );
    await until(() => subscription.position?.endsWith(':50') === true);
    await manager.stop();
    const next = await startPlainBroker({ log, socketPath });
    const peer = await next.connect();
    peer.write(numberedBlock(0, 50, 100));
    await peer.settled();
    await until(() => numbers.length === 100);
    expect(numbers).toEqual(range(0, 100));
  });

  test('a loop that had not taken all gets each message once, but for those after a position', async () => {
    const { socketPath, publish, manager, log } = await startDurable();
    await publish(numberedBlock(0, 0, 2000));
    const app = await connectApp(socketPath);
    const subscription = await app.subscribe({ from: 'first' });
    const numbers = [numberOf((await subscription.next()).value as ReceivedMessage)];
    await until(() => subscription.queuedBytes > 100_000);
    const reconnected = once(app, 'disconnected').then(() => once(app, 'connected'));
    await manager.stop();
    await startPlainBroker({ log, socketPath });
    await reconnected;
    for await (const event of subscription) if (numbers.push(numberOf(event)) >= 2000) break;
    expect(numbers).toEqual(range(0, 2000));
  });
});

describe('messages that the broker sends again after a reconnect', () => {
  const event = (offset: number, host?: string) => {
    const of = host === undefined ? '' : `"host":"${host}",`;
    return `{"from":"c","crawlerId":null,${of}"seq":1,"offset":${offset},"message":${line(VALID.heartbeat).trim()}}`;
  };

  /** What a subscriber gets that loses its connection. Each list is sent on one connection, after `subscribed`. */
  async function received(filter: SubscriptionFilter, ...sent: readonly (readonly string[])[]) {
    const broker = await ScriptedBroker.start();
    broker.answer = (message, connection) => {
      const answer = answerAsBroker(message);
      if (message.type !== 'subscribe') return answer;
      const lines = sent[broker.connections.length - 1] ?? [];
      setImmediate(() => {
        connection.write(
          lines.map((text) => `${text.replace('"ID"', JSON.stringify(message.data.id))}\n`).join(''),
        );
        if (broker.connections.length < sent.length) connection.end();
      });
      return answer;
    };
    const client = new SluiceClient({
      socketPath: broker.socketPath,
      hello: { role: 'app' },
      reconnect: { initialDelay: 1, maxDelay: 5 },
    });
    onTestFinished(() => void client.close(0));
    client.on('gap', () => {});
    await client.connect();
    const events: string[] = [];
    const subscription = await client.subscribe(filter, ({ host = '', offset }) =>
      events.push(`${host}${offset}`),
    );
    await until(() => subscription.position?.endsWith(':9') === true);
    return events;
  }

  const end = '{"type":"position","data":{"id":"ID","position":"0123456789abcdef:9"}}';
  const gap = (host?: string) =>
    JSON.stringify({
      type: 'gap',
      data: { id: 'ID', from: '0123456789abcdef:1', to: 'fedcba9876543210:0', reason: 'epoch', host },
    });

  test('are left out if they can be recognised', async () => {
    const sent = [
      [event(0), event(1), event(2)],
      [event(1), event(2), event(3)],
      [event(2), event(3), event(4), end],
    ];
    expect(await received({ from: 'first', meta: true }, ...sent)).toEqual(['0', '1', '2', '3', '4']);
    expect(await received({ cursor: 'c', meta: true }, ...sent)).toEqual(['0', '1', '2', '3', '4']);
    expect(await received({ cursor: 'c', meta: true, ack: 'manual' }, ...sent)).toHaveLength(9);
  });

  test('are recognised by their host', async () => {
    const sent = [
      [event(5, 'a'), event(1, 'b')],
      [event(5, 'a'), event(1, 'b'), event(2, 'b'), event(6, 'a'), end],
    ];
    const events = await received({ scope: 'fleet', from: 'first', meta: true }, ...sent);
    expect(events).toEqual(['a5', 'b1', 'b2', 'a6']);
  });

  test('those of a log that has begun anew are none of them', async () => {
    const sent = [
      [event(0), event(7)],
      [event(7), gap(), event(0), event(1)],
      [event(1), event(2), end],
    ];
    expect(await received({ from: 'first', meta: true }, ...sent)).toEqual(['0', '7', '0', '1', '1', '2']);
    const fleet = [
      [event(7, 'a'), event(7, 'b')],
      [gap('a'), event(7, 'b'), event(0, 'a'), end],
    ];
    const events = await received({ scope: 'fleet', from: 'first', meta: true }, ...fleet);
    expect(events).toEqual(['a7', 'b7', 'a0']);
  });
});

describe('a cursor', () => {
  test('moves as the loop takes messages, and the next subscription begins there', async () => {
    const { socketPath, publish, manager, log } = await startDurable();
    await publish(numberedBlock(0, 0, 10));
    const app = await connectApp(socketPath);
    const numbers: number[] = [];
    const subscription = await app.subscribe(
      { from: 'first', cursor: 'db' },
      (event) => void numbers.push(numberOf(event)),
    );
    await until(() => subscription.position?.endsWith(':10') === true);
    await app.close();
    await publish(numberedBlock(0, 10, 20));
    await manager.stop();
    const next = await startPlainBroker({ log, socketPath });
    const other = await connectApp(socketPath);
    expect(await take(other, { from: 'first', cursor: 'db' }, 5)).toEqual(range(10, 15));
    await next.manager.stop();
  });

  test('does not move beyond a message whose listener throws: the subscription ends', async () => {
    const { socketPath, publish } = await startDurable();
    await publish(numberedBlock(0, 0, 10));
    const app = await connectApp(socketPath);
    const uncaught = collectUncaught();
    const numbers: number[] = [];
    const filter: SubscriptionFilter = { from: 'first', cursor: 'db' };
    const subscription = await app.subscribe(filter, (event) => {
      if (numbers.push(numberOf(event)) === 2) throw new Error('thrown');
    });
    await until(() => subscription.isEnded);
    expect(numbers).toEqual([0, 1]);
    await app.close();
    expect(uncaught).toEqual(['thrown']);
    const other = await connectApp(socketPath);
    expect(await take(other, filter, 2)).toEqual([0, 1]);
  });

  test('with ack manual: moves only when told', async () => {
    const { socketPath, publish } = await startDurable();
    await publish(numberedBlock(0, 0, 10));
    const filter: SubscriptionFilter = { from: 'first', cursor: 'db', ack: 'manual' };
    const app = await connectApp(socketPath);
    const subscription = await app.subscribe(filter, () => {});
    await until(() => subscription.position?.endsWith(':10') === true);
    await app.close();
    const second = await connectApp(socketPath);
    const again = await second.subscribe(filter, () => {});
    await until(() => again.position?.endsWith(':10') === true);
    const [epoch] = (again.position ?? '').split(':');
    again.ack(`${epoch}:4`);
    await second.flush();
    await second.close();
    const third = await connectApp(socketPath);
    expect(await take(third, filter, 3)).toEqual([4, 5, 6]);
  });

  test('moves to what was acknowledged between two connections', async () => {
    const { socketPath, publish, manager } = await startDurable();
    await publish(numberedBlock(0, 0, 3));
    const app = await connectApp(socketPath);
    const filter: SubscriptionFilter = { from: 'first', cursor: 'db', ack: 'manual' };
    const subscription = await app.subscribe(filter, () => {});
    await until(() => subscription.position?.endsWith(':3') === true);
    app.once('disconnected', () => subscription.ack());
    for (const connection of manager.getConnectionPool()) void connection.disconnect('TEST');
    await until(() => manager.getMetrics().durableLog?.cursors[0]?.behind === 0);
  });

  test('an acknowledgement that was rejected can be repeated', async () => {
    const { socketPath } = await startDurable();
    const app = await connectApp(socketPath);
    const rejected: string[] = [];
    app.on('rejected', ({ messageType = '' }) => rejected.push(messageType));
    const subscription = await app.subscribe({ cursor: 'db', ack: 'manual' }, () => {});
    for (const count of [1, 2]) {
      subscription.ack('00000000000000ff:1');
      await until(() => rejected.length === count);
    }
    expect(rejected).toEqual(['ack', 'ack']);
  });

  describe('with many positions and few messages', () => {
    const positionOf = (offset: number) => `0123456789abcdef:${offset}`;
    const positions = (id: string, from: number, to: number) =>
      range(from, to)
        .map((offset) => line({ type: 'position', data: { id, position: positionOf(offset) } }))
        .join('');

    async function subscribe(ack: 'auto' | 'manual' = 'auto') {
      const broker = await ScriptedBroker.start();
      const client = await connectApp(broker.socketPath);
      const subscription = await client.subscribe({ cursor: 'db', ack });
      const send = (text: string) => broker.connections[0]?.write(text);
      const acknowledged = () =>
        broker.received.filter(({ type }) => type === 'ack').map(({ data }) => data.position);
      return { broker, client, subscription, send, acknowledged };
    }

    test('acknowledges the latest one when a slow loop goes on', async () => {
      const { subscription, send, acknowledged } = await subscribe();
      send(line(VALID.heartbeat) + positions(subscription.id, 1, 2));
      await subscription.next();
      send(positions(subscription.id, 2, 10_001) + line(VALID.heartbeat));
      await until(() => subscription.queuedBytes > 0);
      await subscription.next();
      await until(() => acknowledged().includes(positionOf(10_000)));
      expect(acknowledged().length).toBeLessThanOrEqual(2);
    });

    test('with ack manual: what is acknowledged is sent before what is published next', async () => {
      const { broker, client, subscription, send } = await subscribe('manual');
      send(positions(subscription.id, 1, 3) + line(VALID.heartbeat));
      await subscription.next();
      subscription.ack(positionOf(1));
      subscription.ack();
      client.publish(VALID.job_cancel);
      await client.flush();
      const sent = broker.received.slice(-4).map(({ type, data }) => data.position ?? type);
      expect(sent).toEqual([positionOf(1), positionOf(2), 'job_cancel', 'ping']);
    });

    test('acknowledges those that arrive together once, and the latest one before it ends', async () => {
      const { subscription, send, acknowledged } = await subscribe();
      const waiting = subscription.next();
      send(positions(subscription.id, 1, 10_001));
      await until(() => acknowledged().includes(positionOf(10_000)));
      // At most one for each read.
      expect(acknowledged().length).toBeLessThan(1000);
      send(line(VALID.heartbeat) + positions(subscription.id, 10_001, 10_002));
      await waiting;
      // In the turn in which the position is passed.
      void subscription.next();
      await subscription.unsubscribe();
      expect(acknowledged().at(-1)).toBe(positionOf(10_001));
    });
  });

  test('is taken over by a newer connection, and the older one is closed', async () => {
    const { socketPath, publish } = await startDurable();
    const older = await connectApp(socketPath);
    await older.subscribe({ cursor: 'db' }, () => {});
    const closed = once(older, 'closed');
    const newer = await connectApp(socketPath);
    const numbers: number[] = [];
    await newer.subscribe({ cursor: 'db' }, (event) => void numbers.push(numberOf(event)));
    const [error] = await closed;
    expect(error).toMatchObject({ code: 'REPLACED' });
    await publish(numbered(0, 0));
    await until(() => numbers.length === 1);
  });

  test('cannot be moved to a position that was not sent, nor used twice by one connection', async () => {
    const { connect, publish } = await startDurable();
    await publish(numberedBlock(0, 0, 10));
    const peer = await connect();
    await peer.subscribe({ id: 'a', cursor: 'db', from: 'first', ack: 'manual' });
    const { position } = (await peer.next('position')).data as { position: string };
    const [epoch] = position.split(':');
    peer.say('ack', { id: 'a', position: `${epoch}:11` });
    peer.say('ack', { id: 'b', position });
    peer.say('ack', { id: 'a', position: `00000000000000ff:1` });
    peer.say('subscribe', { id: 'twice', cursor: 'db' });
    peer.say('ack', { id: 'a', position });
    await peer.settled();
    const issues = peer.messages
      .filter(({ type }) => type === 'error')
      .map(({ data }) => (data.issues as { path: string }[])[0]?.path);
    expect(issues).toEqual(['data.position', 'data.id', 'data.position', 'data.cursor']);
  });
});

test('options that contradict each other are errors', async () => {
  const { socketPath } = shared();
  const app = await connectApp(socketPath);
  const invalid: SubscriptionFilter[] = [
    { from: 'first', group: 'a' },
    { cursor: 'a', last: true },
    { ack: 'manual' },
  ];
  for (const filter of invalid)
    await expect(app.subscribe(filter)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  const subscription = await app.subscribe();
  await expect(app.subscribe({ from: 'first' })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  expect(() => subscription.ack()).toThrow('ack: needs a subscription with cursor');
});
