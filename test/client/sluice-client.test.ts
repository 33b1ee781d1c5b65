import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startBroker, until } from '../support/broker.js';
import { line, VALID } from '../support/messages.js';

async function connect(options: Parameters<typeof SluiceClient.connect>[0]): Promise<SluiceClient> {
  const client = await SluiceClient.connect(options);
  onTestFinished(() => client.close());
  return client;
}

describe('SluiceClient', () => {
  test('says hello, publishes and subscribes', async () => {
    const { socketPath } = await startBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    expect(app.welcome).toMatchObject({ protocolVersion: '1.0.0' });
    const lines: string[] = [];
    app.on('line', (bytes) => lines.push(bytes.toString()));
    await app.subscribe({ id: 'x', types: ['heartbeat'] });
    const crawler = await connect({ socketPath });
    crawler.publish({ ...VALID.heartbeat });
    await until(() => lines.length === 1);
    expect(lines[0]).toBe(JSON.stringify(VALID.heartbeat));
    await app.unsubscribe('x');
    crawler.publish({ ...VALID.heartbeat });
    await crawler.ping();
    await app.ping();
    expect(lines).toHaveLength(1);
  });

  test('tells what was refused, all before the ping is answered', async () => {
    const { socketPath } = await startBroker();
    const client = await connect({ socketPath });
    const codes: string[] = [];
    client.on('refused', ({ code }) => codes.push(code));
    client.publishRaw('junk\n{"type":"x"}\n');
    await client.ping();
    expect(codes).toEqual(['INVALID_JSON', 'UNKNOWN_TYPE']);
  });

  test('rejects what the broker refuses', async () => {
    const { socketPath } = await startBroker({ maxSubscriptions: 1 });
    const client = await connect({ socketPath });
    await client.subscribe({ id: 'a' });
    await expect(client.subscribe({ id: 'b' })).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    const hello = { role: 'crawler', crawlerId: '' } as const;
    await expect(SluiceClient.connect({ socketPath, hello })).rejects.toMatchObject({
      code: 'SCHEMA_VIOLATION',
      message: expect.stringContaining('data.crawlerId'),
    });
  });

  test('shows a forwarded message that names its type twice', async () => {
    const { socketPath } = await startBroker();
    const app = await connect({ socketPath });
    const lines: string[] = [];
    app.on('line', (bytes) => lines.push(bytes.toString()));
    await app.subscribe({ id: 'x' });
    const odd = line(VALID.heartbeat).replace('{', '{"type":"welcome",');
    const crawler = await connect({ socketPath });
    crawler.publishRaw(odd);
    await until(() => lines.length === 1);
    expect(`${lines[0]}\n`).toBe(odd);
  });

  test('rejects when nobody listens, and when the broker goes away', async () => {
    await expect(SluiceClient.connect({ socketPath: '/nowhere.sock' })).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
      message: expect.stringContaining('/nowhere.sock'),
    });
    const { manager, socketPath } = await startBroker();
    const client = await connect({ socketPath });
    await client.ping();
    await manager.stop();
    await until(() => client.isClosed);
    await expect(client.ping()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    await client.drained();
  });

  test('puts lines together again, however they arrive', async () => {
    const { socketPath, manager } = await startBroker();
    const app = await connect({ socketPath });
    const lines: string[] = [];
    app.on('line', (bytes) => lines.push(bytes.toString()));
    await app.subscribe({ id: 'x' });
    const [connection] = manager.getConnectionPool().all();
    const text = line({ ...VALID.discovery, note: 'é'.repeat(50) });
    for (const byte of Buffer.from(text)) await connection?.sendRaw(Buffer.of(byte));
    await until(() => lines.length === 1);
    expect(`${lines[0]}\n`).toBe(text);
  });
});
