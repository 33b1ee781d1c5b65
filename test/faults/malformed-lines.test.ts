// Lines that no broker sends: another service at the address, a broker with a fault, or one that means harm.

import { once } from 'node:events';
import { type ClientOptions, SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { until } from '../support/broker.js';
import { VALID } from '../support/messages.js';
import { answerAsBroker, ScriptedBroker, WELCOME } from '../support/scripted-broker.js';
import { collectUncaught } from '../support/uncaught.js';

const MiB = 1024 * 1024;
const QUICK = { initialDelay: 5, maxDelay: 20 };
/** Must not show in any error. */
const SECRET = 'glpat-secret';
const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
const wrapper = (message: string) => `{"from":"c1","crawlerId":null,"seq":1,"message":${message}}`;

/** A client that looks at each message, and what it tells. */
function clientOf(broker: ScriptedBroker, options: ClientOptions = {}) {
  const { socketPath } = broker;
  const client = new SluiceClient({ socketPath, hello: { role: 'crawler' }, reconnect: QUICK, ...options });
  onTestFinished(() => void client.close(0));
  return client;
}

const OWN_LINES = [
  '{"type":"error"}',
  '{"type":"error","data":null}',
  `{"type":"error","data":"${SECRET}"}`,
  `{"type":"error","data":{"message":"${SECRET}"}}`,
  `{"type":"error","data":{"code":5,"message":"${SECRET}"}}`,
  '{"type":"error","data":{"code":"UNAUTHORIZED"}}',
  `{"type":"error","data":{"code":"UNKNOWN_TYPE","message":"","issues":"${SECRET}"}}`,
  '{"type":"error","data":{"code":"UNKNOWN_TYPE","message":"","issues":[null]}}',
  '{"type":"error","data":{"code":"UNKNOWN_TYPE","message":"","line":"1"}}',
  '{"type":"error","data":{"code":"UNKNOWN_TYPE","message":"","messageType":{}}}',
  '{"type":"error","timestamp":5,"data":{"code":"UNKNOWN_TYPE","message":""}}',
  `{"type":"error","data":${deep}}`,
  `{"type":"error","data":{"code":"UNKNOWN_TYPE","message":"","__proto__":{}}}`,
  '{"type":"welcome"}',
  '{"type":"welcome","data":{}}',
  '{"type":"welcome","data":[]}',
  JSON.stringify({ type: 'welcome', data: { ...WELCOME, maxMessageSize: '1' } }),
  `{"type":"welcome",${SECRET}}`,
  '{"type":"subscribed"}',
  '{"type":"subscribed","data":{}}',
  '{"type":"subscribed","data":{"id":{}}}',
  '{"type":"unsubscribed","data":null}',
  '{"type":"pong","data":null}',
  '{"type":"ping","data":"x"}',
];
const OTHER_LINES = [
  '',
  SECRET,
  'null',
  '5',
  `"${SECRET}"`,
  '[]',
  `[{"type":"${SECRET}"}]`,
  deep,
  '{}',
  `{${SECRET}}`,
  '{"type":5}',
  '{"type":null}',
  `{"type":"heartbeat","data":${deep}}`,
  `{"type":"heartbeat","data":{"__proto__":{}}}`,
  '{"from":"c1"}',
  '{"from":5,"crawlerId":null,"seq":1,"message":{"type":"heartbeat"}}',
  wrapper('null'),
  wrapper('[]'),
  wrapper(`"${SECRET}"`),
  wrapper('{}'),
  wrapper('{"type":5}'),
  wrapper('{"type":"heartbeat"},"from":5'),
  wrapper('{"type":"heartbeat"},"seq":{}'),
];
const cases = (lines: readonly string[]) => lines.map((line) => [line.slice(0, 80), line] as const);

describe('SluiceClient, when the broker does not follow the protocol', () => {
  test.each(cases([...OWN_LINES, ...OTHER_LINES]))(
    'closes the connection and comes back: %s',
    async (_, line) => {
      const uncaught = collectUncaught();
      const broker = await ScriptedBroker.start();
      broker.answer = (message, connection) => {
        const isFirst = connection === broker.connections[0];
        return message.type === 'subscribe' && isFirst ? line : answerAsBroker(message);
      };
      const client = clientOf(broker);
      await client.connect();
      client.publish({ ...VALID.heartbeat });
      const lost = once(client, 'disconnected');
      const subscribing = client.subscribe({}, ({ message }) => message.jobId);
      const [{ error }] = (await lost) as [{ error: Error }];
      expect(error).toMatchObject({ name: 'SluiceError', code: 'PROTOCOL_ERROR' });
      expect(error.message).not.toContain(SECRET);
      expect(error.cause).toBeUndefined();
      await subscribing;
      await client.flush();
      expect(client.statistics).toMatchObject({ connections: 2, unconfirmed: 0 });
      expect(uncaught).toEqual([]);
    },
  );

  test.each(cases(OWN_LINES))('rejects to connect, when that answers hello: %s', async (_, line) => {
    const broker = await ScriptedBroker.start();
    broker.answer = () => line;
    const client = clientOf(broker);
    await expect(client.connect()).rejects.toMatchObject({ code: 'PROTOCOL_ERROR' });
    expect(client.state).toBe('idle');
    await until(() => broker.connections[0]?.destroyed === true);
  });

  test('rejects what waits, when it may not reconnect', async () => {
    const broker = await ScriptedBroker.start();
    const client = clientOf(broker, { reconnect: false });
    await client.connect();
    broker.answer = () => undefined;
    client.publish({ ...VALID.heartbeat });
    const waiting = Promise.allSettled([client.requestJobs(), client.flush()]);
    broker.connections[0]?.write('{"type":"error"}\n');
    const reason = { code: 'PROTOCOL_ERROR' };
    expect(await waiting).toMatchObject([{ reason }, { reason }]);
    expect(client.state).toBe('closed');
  });

  test('reads nothing behind such a line', async () => {
    const broker = await ScriptedBroker.start();
    const client = clientOf(broker);
    const events: string[] = [];
    client.on('rejected', ({ code }) => events.push(code));
    client.on('disconnected', ({ error }) => events.push(error.code));
    await client.connect();
    const notice = '{"type":"error","data":{"code":"RATE_LIMITED","message":""}}\n';
    broker.connections[0]?.write(`${notice}{"type":"error"}\n${notice}`);
    await until(() => events.length === 2);
    await until(() => client.state === 'connected');
    expect(events).toEqual(['RATE_LIMITED', 'PROTOCOL_ERROR']);
  });

  test('shows a listener a message without a type, when that is found out no earlier', async () => {
    const uncaught = collectUncaught();
    const broker = await ScriptedBroker.start();
    const client = clientOf(broker, { hello: { role: 'app' } });
    const seen: unknown[] = [];
    await client.connect();
    await client.subscribe({ meta: true }, ({ type, message, from, raw }) =>
      seen.push([type, message, from, raw.toString()]),
    );
    const lost = once(client, 'disconnected');
    const line = wrapper('null');
    broker.connections[0]?.write(`${line}\n`);
    expect((await lost)[0]).toMatchObject({ error: { code: 'PROTOCOL_ERROR' } });
    expect(seen).toEqual([['', { type: '' }, undefined, line]]);
    expect(uncaught).toEqual([]);
  });

  test('takes valid messages that are as deep as the broker lets them be, with a wrapper around them', async () => {
    const broker = await ScriptedBroker.start();
    const client = clientOf(broker);
    const types: string[] = [];
    client.on('message', ({ type }) => types.push(type));
    await client.connect();
    const message = `{"type":"deep","data":${'['.repeat(63)}${']'.repeat(63)}}`;
    broker.connections[0]?.write(`${message}\n${wrapper(message)}\n`);
    await until(() => types.length === 2);
    expect(types).toEqual(['deep', 'deep']);
  });

  test('closes the connection when a line does not end', async () => {
    const broker = await ScriptedBroker.start();
    const client = clientOf(broker);
    await client.connect();
    const lost = once(client, 'disconnected');
    const [connection] = broker.connections;
    const piece = Buffer.alloc(MiB, '{');
    let written = 0;
    const write = () => {
      while (connection?.writable && written < 1024) {
        written++;
        if (!connection.write(piece)) return;
      }
    };
    connection?.on('drain', write);
    write();
    expect((await lost)[0]).toMatchObject({ error: { code: 'PROTOCOL_ERROR' } });
    expect(written).toBeLessThan(128);
  });

  test('takes a longer line when the broker has announced it', async () => {
    const broker = await ScriptedBroker.start();
    broker.answer = () =>
      JSON.stringify({ type: 'welcome', data: { ...WELCOME, maxMessageSize: 128 * MiB } });
    const client = clientOf(broker);
    await client.connect();
    const line = once(client, 'line');
    broker.connections[0]?.write(`{"type":"long","data":"${'x'.repeat(65 * MiB)}"}\n`);
    expect((await line)[0].length).toBeGreaterThan(65 * MiB);
    expect(client.statistics.connections).toBe(1);
  });

  test('does not collect answers for a broker that pings and does not read', async () => {
    const broker = await ScriptedBroker.start();
    const client = clientOf(broker);
    await client.connect();
    const [connection] = broker.connections;
    connection?.pause();
    const count = 100_000;
    connection?.write('{"type":"ping"}\n'.repeat(count));
    const seen = once(client, 'line');
    connection?.write('{"type":"last"}\n');
    await seen;
    connection?.resume();
    await client.subscribe({}, () => {});
    const pongs = broker.received.filter(({ type }) => type === 'pong').length;
    expect(pongs).toBeGreaterThan(0);
    expect(pongs).toBeLessThan(count / 5);
  });
});
