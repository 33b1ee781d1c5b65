// Sockets that systemd has opened; see sd_listen_fds(3).

import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ask } from '../../support/admin.js';
import { temporaryFolder } from '../../support/broker.js';
import { type CliRun, cliScript, packageRoot, runNode, sluice } from '../../support/cli.js';
import { Peer } from '../../support/peer.js';

const LIGHT = ['--workers', '1', '--patterns', 'off'];

/** Starts `sluice serve` with inherited sockets. */
function activate(paths: readonly string[], names: readonly string[], flags: readonly string[] = []): CliRun {
  const script = join(packageRoot, 'test/support/activate.mjs');
  return runNode(script, [cliScript(), paths.join(':'), names.join(':'), ...LIGHT, ...flags]);
}

/** Stops the broker. Resolves with its exit status and the socket files that are left. */
async function stop(run: CliRun): Promise<unknown> {
  const { pid } = JSON.parse(run.stdout.split('\n')[0] ?? '') as { pid: number };
  process.kill(pid, 'SIGTERM');
  await run.exited;
  return JSON.parse(run.stdout.trim().split('\n').at(-1) ?? '');
}

async function greet(path: string): Promise<void> {
  const peer = await Peer.connect(path);
  await peer.settled();
  await peer.close();
}

describe('inherited sockets', () => {
  test('are all listened on, and left where they are; one named admin is for the admin server', async () => {
    const folder = temporaryFolder();
    const paths = ['first.sock', 'admin.sock', 'second.sock'].map((name) => join(folder, name));
    const [first = '', admin = '', second = ''] = paths;
    const run = activate(paths, ['sluice.socket', 'admin', 'sluice.socket'], ['--port', '7']);
    await run.says('fd 5');
    expect(run.stdout.match(/"address":"[^"]*"/g)).toEqual(['"address":"fd 3"', '"address":"fd 5"']);
    expect(run.stdout).toContain('nothing listens on this port: the broker uses inherited sockets');
    // The path of the admin server's socket is unknown, so there is no command to open it.
    expect(run.stdout).toContain('"admin":"fd 4","msg"');
    await greet(first);
    await greet(second);
    expect((await ask(admin, '/readyz')).status).toBe(200);
    expect(await stop(run)).toEqual({ status: 0, left: paths });
  });

  test('of TCP are encrypted if there is a certificate, and Unix sockets are not', async () => {
    const folder = temporaryFolder();
    const certificates = join(packageRoot, 'test/support/certificates');
    const [cert = '', key = '', path = ''] = ['server.pem', 'server.key', 'a.sock'].map((name) =>
      join(folder, name),
    );
    writeFileSync(key, readFileSync(join(certificates, 'server.key')), { mode: 0o600 });
    copyFileSync(join(certificates, 'server.pem'), cert);
    const run = activate(['tcp', path], [], ['--tls-cert', cert, '--tls-key', key]);
    await run.says('"address":"fd 4"');
    const port = Number(/"address":"127\.0\.0\.1:(\d+)"/.exec(run.stdout)?.[1]);
    const plain = connect(port, '127.0.0.1').on('error', () => {});
    onTestFinished(() => void plain.destroy());
    plain.write('{"type":"ping"}\n');
    const answer = await new Promise<string>((resolve) => {
      plain
        .on('data', (bytes) => bytes.includes('pong') && resolve('pong'))
        .on('close', () => resolve('none'));
    });
    expect(answer).toBe('none');
    const tls = { ca: readFileSync(join(certificates, 'ca.pem')) };
    const client = await new SluiceClient({ port, tls, hello: { role: 'app' }, reconnect: false }).connect();
    await client.close();
    await greet(path);
    expect(run.stdout).not.toContain('nothing listens on this port');
    expect(await stop(run)).toEqual({ status: 0, left: [path] });
  });

  test('are rejected if one cannot accept connections', async () => {
    const run = activate([join(temporaryFolder(), 'a.sock'), 'udp'], []);
    await run.exited;
    expect(run.stderr).toContain('fd 4: not a listening stream socket: ');
    expect(JSON.parse(run.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({ status: 1 });
  });

  test('are rejected if two are named admin: peers would find the broker behind the second one', async () => {
    const paths = ['a.sock', 'b.sock'].map((name) => join(temporaryFolder(), name));
    const run = activate(paths, ['admin', 'admin']);
    await run.exited;
    expect(run.stderr).toContain('fd 4: only one inherited socket may have the name admin');
    expect(JSON.parse(run.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({ status: 1 });
  });

  test('are not listened on, except for the one that --listen-fd names', async () => {
    const paths = ['first.sock', 'second.sock'].map((name) => join(temporaryFolder(), name));
    const run = activate(paths, [], ['--listen-fd', '4']);
    await run.says('"listening"');
    expect(run.stdout.match(/"address":"[^"]*"/g)).toEqual(['"address":"fd 4"']);
    await stop(run);
  });

  test('of another process are ignored', async () => {
    const socketPath = join(temporaryFolder(), 'own.sock');
    const run = sluice(['serve', '--socket', socketPath, ...LIGHT], { LISTEN_PID: '1', LISTEN_FDS: '2' });
    await run.says('"listening"');
    await greet(socketPath);
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
  });
});
