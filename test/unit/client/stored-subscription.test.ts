import { once } from 'node:events';
import { join } from 'node:path';
import { type ReceivedMessage, SluiceClient, type SubscriptionFilter } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LIGHT, shareBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { numbered, numberedBlock } from '../../support/numbered.js';
import { Peer } from '../../support/peer.js';
import { share, type WhenOver } from '../../support/share.js';

const shared = shareBroker(LIGHT);

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
