import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectEncrypted } from 'node:tls';
import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { packageRoot, shareSluice } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Ledger, ledgerOf, numberedBlock } from '../../support/numbered.js';
import { Peer } from '../../support/peer.js';

const run = shareSluice();
const certificates = join(packageRoot, 'test/support/certificates');
const pem = (name: string) => readFileSync(join(certificates, name));

/** Copies of the files, with the permissions that a key needs. */
function filesOf(...names: readonly string[]): string[] {
  const folder = temporaryFolder();
  return names.map((name) => {
    const path = join(folder, name);
    put(name, path);
    return path;
  });
}

/** Puts one of the files at a path. */
function put(name: string, path: string | undefined): void {
  writeFileSync(path ?? '', pem(name), { mode: 0o600 });
}

async function startEncrypted(options: Parameters<typeof startPlainBroker>[0] = {}) {
  const [tlsCert, tlsKey] = filesOf('server.pem', 'server.key');
  const broker = await startPlainBroker({ port: 0, tlsCert, tlsKey, ...options, socketPath: undefined });
  const address = broker.manager.getStatus().address ?? '';
  return { ...broker, tlsCert, tlsKey, port: Number(address.slice(address.lastIndexOf(':') + 1)) };
}

async function clientOf(options: ConstructorParameters<typeof SluiceClient>[0]): Promise<SluiceClient> {
  const client = new SluiceClient({ reconnect: false, ...options });
  onTestFinished(() => void client.close(0));
  return client.connect();
}

describe('a TCP port with TLS', () => {
  test('takes and delivers messages like any other', async () => {
    const { port } = await startEncrypted();
    const tls = { ca: pem('ca.pem') };
    const app = await clientOf({ port, tls, hello: { role: 'app' } });
    const ledger = new Ledger();
    await app.subscribe({ types: ['*'] }, (event) => ledger.readLine(event.line.toString()));
    const crawler = await clientOf({ port, tls, hello: { role: 'crawler', crawlerId: 'c' } });
    crawler.publishRaw(numberedBlock(1, 0, 5000));
    await crawler.flush();
    await until(() => ledger.total === 5000);
    expect(ledger.faults(1, 5000)).toEqual([]);
    await crawler.close();
    await app.close();
  });

  test('is rejected by clients that do not trust its certificate, or expect another name', async () => {
    const { port } = await startEncrypted();
    const fails = (options: object) =>
      expect(clientOf({ port, ...options })).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await fails({ tls: true });
    await fails({ tls: { ca: pem('other.pem') } });
    await fails({ tls: { ca: pem('ca.pem'), serverName: 'example.org' } });
  });

  test('with tlsClientCa, needs a valid certificate of an authority', async () => {
    const [tlsClientCa] = filesOf('ca.pem');
    const { port } = await startEncrypted({ tlsClientCa });
    const ca = pem('ca.pem');
    const isAccepted = async (name: string | undefined): Promise<boolean> => {
      const tls = name === undefined ? { ca } : { ca, cert: pem(`${name}.pem`), key: pem(`${name}.key`) };
      // With TLS 1.3, a client learns after the handshake that it was rejected.
      const client = await clientOf({ port, tls, hello: { role: 'app' } }).catch(() => undefined);
      await client?.close();
      return client !== undefined;
    };
    expect(await isAccepted('client')).toBe(true);
    expect(await isAccepted(undefined)).toBe(false);
    expect(await isAccepted('other')).toBe(false);
    expect(await isAccepted('expired')).toBe(false);
    expect(await isAccepted('client')).toBe(true);
  });

  test('closes a peer that does not begin, and one that speaks something else', async () => {
    const { port, manager } = await startEncrypted({ helloTimeout: 200 });
    const silent = connect(port, '127.0.0.1');
    const plain = connect(port, '127.0.0.1');
    plain.write(line(VALID.heartbeat));
    for (const socket of [silent, plain]) socket.on('error', () => {}).resume();
    await Promise.all([once(silent, 'close'), once(plain, 'close')]);
    expect(manager.getConnectionPool().size).toBe(0);
  });

  test('closes peers that have not completed their handshake when it stops', async () => {
    const { port, manager } = await startEncrypted({ helloTimeout: 60_000 });
    const silent = connect(port, '127.0.0.1')
      .on('error', () => {})
      .resume();
    await once(silent, 'connect');
    const closed = once(silent, 'close');
    // Connections are accepted in order.
    await clientOf({ port, tls: { ca: pem('ca.pem') }, hello: { role: 'app' } });
    await manager.stop();
    await closed;
  });

  test('has at most 256 peers that have not completed their handshake', async () => {
    const { port } = await startEncrypted({ helloTimeout: 60_000 });
    const sockets: Socket[] = [];
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
    });
    for (let count = 0; count < 300; count++)
      sockets.push(
        connect(port, '127.0.0.1')
          .on('error', () => {})
          .resume(),
      );
    await until(() => sockets.filter(({ destroyed }) => destroyed).length === 44);
    for (const socket of sockets.slice(0, 200)) socket.destroy();
    // Those that end make room.
    await expect
      .poll(() =>
        clientOf({ port, tls: { ca: pem('ca.pem') }, hello: { role: 'app' } }).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
  });

  test('a long message, a slow reader and a peer that closes its side are served', async () => {
    const { port, manager } = await startEncrypted();
    const socket = connectEncrypted({ port, host: '127.0.0.1', ca: pem('ca.pem') });
    await once(socket, 'secureConnect');
    const reader = connectEncrypted({ port, host: '127.0.0.1', ca: pem('ca.pem') });
    await once(reader, 'secureConnect');
    reader.write(line({ type: 'subscribe', data: { id: 'x', overflow: 'block' } }));
    await once(reader, 'data');
    reader.pause();
    const { data } = VALID.job_progress;
    const long = line({ ...VALID.job_progress, data: { ...data, message: 'x'.repeat(900_000) } });
    for (let count = 0; count < 20; count++) socket.write(long);
    socket.end();
    let received = 0;
    reader.on('data', (bytes: Buffer) => {
      received += bytes.length;
    });
    reader.resume();
    await until(() => received >= 20 * long.length);
    expect(received).toBe(20 * long.length);
    reader.destroy();
    await until(() => manager.getConnectionPool().size === 0);
  });

  test('what the kernel has accepted for a member of a group is not sent to another one again', async () => {
    const { port, manager } = await startEncrypted();
    const connectPeer = async (): Promise<Peer> => {
      const peer = await Peer.connect({ port, host: '127.0.0.1', ca: pem('ca.pem') });
      onTestFinished(() => peer.close());
      return peer;
    };
    const [slow, other, publisher] = [await connectPeer(), await connectPeer(), await connectPeer()];
    for (const member of [slow, other]) await member.subscribe({ group: 'g' });
    const [connection] = manager.getConnectionPool().all();
    slow.socket.pause();
    let sent = 0;
    while (connection?.outbox.pendingBytes === 0) {
      publisher.write(numberedBlock(0, sent, sent + 2000));
      sent += 2000;
      await publisher.settled();
      await other.settled();
    }
    connection?.destroy();
    slow.socket.resume();
    await slow.closed;
    await until(() =>
      manager
        .getConnectionPool()
        .all()
        .every(({ outbox }) => outbox.pendingBytes === 0),
    );
    await other.settled();
    const received = [slow, other].flatMap((peer) => ledgerOf(peer).of(0));
    expect(new Set(received).size).toBe(received.length);
    // Some of the lost messages may have arrived.
    expect(received.length + manager.getMetrics().totals.messagesDropped).toBeGreaterThanOrEqual(sent);
  });

  test('presents another certificate once the files are read again', async () => {
    const { port, manager, tlsCert, tlsKey } = await startEncrypted();
    const subjectOf = async (): Promise<string> => {
      const socket = connectEncrypted({ port, host: '127.0.0.1', rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { CN } = socket.getPeerCertificate().subject;
      socket.destroy();
      return String(CN);
    };
    expect(await subjectOf()).toBe('localhost');
    put('other.pem', tlsCert);
    put('other.key', tlsKey);
    expect(await subjectOf()).toBe('localhost');
    manager.reloadCertificates();
    expect(await subjectOf()).toBe('Another authority');
    put('ca.pem', tlsKey);
    expect(() => manager.reloadCertificates()).toThrow(
      expect.objectContaining({
        code: 'CONFIG_UNREADABLE',
        message: expect.stringContaining(String(tlsKey)),
      }),
    );
    expect(await subjectOf()).toBe('Another authority');
  });

  test('a client that is closed while it connects makes no connection', async () => {
    let connections = 0;
    const server = createServer(() => connections++);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const client = new SluiceClient({ port, tls: true, requestTimeout: Number.POSITIVE_INFINITY });
    const connecting = client.connect();
    await client.close();
    await expect(connecting).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    expect(connections).toBe(0);
  });

  test('files of a client that cannot be used are an error with a code', async () => {
    for (const tls of [
      { cert: 'x', key: 'y' },
      { cert: pem('client.pem'), key: pem('other.key') },
    ])
      await expect(clientOf({ port: 1, tls })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('is used by the commands', async () => {
    const { port } = await startEncrypted();
    const [ca] = filesOf('ca.pem');
    const args = ['--host', '127.0.0.1', '--port', String(port)];
    const input = line(VALID.heartbeat);
    expect((await run(['pub', ...args, '--tls-ca', ca ?? ''], {}, input)).code).toBe(0);
    const wrong = await run(['pub', ...args, '--tls'], {}, input);
    expect(wrong.code).toBe(69);
    expect(wrong.stderr).toContain('certificate');
    const unusable = await run(['pub', ...args, '--tls-cert', ca ?? '', '--tls-key', ca ?? ''], {}, input);
    expect([unusable.code, unusable.stderr]).toEqual([78, expect.stringContaining('tls: ')]);
  });

  test('is not opened with files that cannot be used: the error names them', async () => {
    const [cert, key, other, garbage] = filesOf('server.pem', 'server.key', 'other.key', 'ca.pem');
    writeFileSync(garbage ?? '', 'garbage');
    for (const [tlsCert, tlsKey, named, tlsClientCa] of [
      [cert, '/nowhere.key', '/nowhere.key'],
      ['/nowhere.pem', key, '/nowhere.pem'],
      [garbage, key, garbage],
      [cert, garbage, garbage],
      [cert, other, other],
      [cert, key, garbage, garbage],
    ])
      await expect(startEncrypted({ tlsCert, tlsKey, tlsClientCa })).rejects.toMatchObject({
        code: 'CONFIG_UNREADABLE',
        message: expect.stringContaining(`${named}`),
      });
  });

  test('needs both files, and a port', async () => {
    const [tlsCert, tlsKey, tlsClientCa] = filesOf('server.pem', 'server.key', 'ca.pem');
    const fails = (options: object, text: string) =>
      expect(startPlainBroker(options)).rejects.toMatchObject({ message: expect.stringContaining(text) });
    await fails({ port: 0, tlsCert }, 'needs tlsKey');
    await fails({ tlsCert, tlsKey }, 'needs port');
    await fails({ port: 0, tlsClientCa }, 'needs tlsCert');
    chmodSync(tlsKey ?? '', 0o644);
    await fails({ port: 0, socketPath: undefined, tlsCert, tlsKey }, 'chmod 600');
    await fails({ port: 0, socketPath: undefined, tlsCert: '/nowhere.pem', tlsKey: tlsCert }, 'nowhere');
  });
});

test('a Unix socket is not encrypted', async () => {
  const { socketPath } = await startPlainBroker();
  await expect(clientOf({ socketPath, tls: true })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  await (await Peer.connect(socketPath)).close();
});
