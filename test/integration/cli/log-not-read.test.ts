// A log that nobody reads, or that cannot be written, does not concern the broker.

import { spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ask } from '../../support/admin.js';
import { startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { CliRun, cliScript, sluice, sluiceInTerminal } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import { share, type WhenOver } from '../../support/share.js';
import { missingTools, without } from '../../support/tools.js';

const missing = missingTools('python3');
const skipped = missing.length > 0;

interface Broker {
  readonly run: CliRun;
  readonly pid: number;
  readonly socketPath: string;
  readonly adminPath: string;
  /** Nothing is read any more from here on, and again after the second. */
  readonly pause: () => void;
  readonly resume: () => void;
}

function paths(whenOver?: WhenOver): { socketPath: string; adminPath: string; args: string[] } {
  const folder = temporaryFolder(whenOver);
  const [socketPath, adminPath] = [join(folder, 'broker.sock'), join(folder, 'admin.sock')];
  // Each connection that closes has a line then.
  const settings = ['--workers', '1', '--patterns', 'off', '--log-level', 'debug'];
  const args = ['serve', '--socket', socketPath, '--admin', adminPath, ...settings];
  return { socketPath, adminPath, args };
}

async function brokerInPipe(whenOver?: WhenOver): Promise<Broker> {
  const { args, ...rest } = paths(whenOver);
  const run = sluice(args, {}, whenOver);
  await run.says('listening');
  const { stdout } = run.child;
  return {
    ...rest,
    run,
    pid: run.pid,
    pause: () => stdout.pause(),
    resume: () => stdout.resume(),
  };
}

async function brokerInTerminal(whenOver?: WhenOver): Promise<Broker> {
  const { args, ...rest } = paths(whenOver);
  const run = sluiceInTerminal(args, undefined, whenOver);
  await run.says('Ctrl-C stops the broker');
  return { ...rest, run, pid: run.childPid(), ...readerOf(run) };
}

/** Stops the program that reads the terminal, and lets it go on. */
function readerOf(run: CliRun): Pick<Broker, 'pause' | 'resume'> {
  return { pause: () => run.child.kill('SIGSTOP'), resume: () => run.child.kill('SIGCONT') };
}

/** Whether a process has exited. Its parent may not have noticed. */
function hasExited(pid: number): boolean {
  const path = `/proc/${pid}/stat`;
  return !existsSync(path) || /\) [ZX] /.test(readFileSync(path, 'utf8'));
}

/** Names of a peer as long as may be, of characters that take seven bytes each in the log: so few peers fill it. */
const [crawlerId, name] = [256, 64].map((length) => '\u0001'.repeat(length));

/** Lets peers connect and leave. */
async function visit(socketPath: string, count: number, visitor = name): Promise<void> {
  const hello = line({ type: 'hello', data: { role: 'app', crawlerId, name: visitor } });
  const visited = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(socketPath, () => socket.end(hello));
      socket.on('close', () => resolve()).on('error', reject);
      socket.resume();
    });
  await Promise.all(Array.from({ length: count }, visited));
}

async function droppedLines(adminPath: string): Promise<number> {
  const { body } = await ask(adminPath, '/metrics');
  return Number(/^sluice_log_lines_dropped_total (\d+)$/m.exec(body)?.[1]);
}

/** Has peers connect until the log drops lines. */
async function fillLog({ socketPath, adminPath }: Broker): Promise<void> {
  const before = await droppedLines(adminPath);
  let dropped = before;
  while (dropped === before) {
    await visit(socketPath, 50);
    dropped = await droppedLines(adminPath);
    expect(dropped).not.toBeNaN();
  }
}

/** Sends a message through the broker. */
async function deliver(socketPath: string): Promise<void> {
  const subscriber = await (await Peer.connect(socketPath)).subscribe();
  const crawler = await Peer.connect(socketPath);
  crawler.write(line(VALID.heartbeat));
  await subscriber.next('heartbeat');
  await Promise.all([subscriber.close(), crawler.close()]);
}

const places = [
  { place: 'pipe', start: brokerInPipe, isMissing: false, note: '' },
  { place: 'terminal', start: brokerInTerminal, isMissing: skipped, note: without(missing) },
];

describe.each(places)('a broker whose log goes to a $place that nobody reads$note', (at) => {
  const shared = share(at.start);

  test.skipIf(at.isMissing)('serves on, and logs how many lines were dropped when it is read', async () => {
    const broker = shared();
    broker.pause();
    await fillLog(broker);
    await deliver(broker.socketPath);
    await expect
      .poll(async () => JSON.parse((await ask(broker.adminPath, '/api/connections')).body).total)
      .toBe(0);
    const dropped = await droppedLines(broker.adminPath);
    broker.resume();
    const report = 'log lines dropped: the log was not read';
    await broker.run.says(report);
    expect(await droppedLines(broker.adminPath)).toBe(dropped);
    // The log continues.
    await visit(broker.socketPath, 1, 'the last visitor');
    await until(() => broker.run.stdout.includes('the last visitor'));
    if (at.place === 'terminal') return;
    const lines = broker.run.stdout.split('\n').slice(0, -1);
    const reports = lines.map((text) => JSON.parse(text)).filter((entry) => 'dropped' in entry);
    // A short line may have room after a long one had none.
    expect(reports.reduce((sum, entry) => sum + entry.dropped, 0)).toBe(dropped);
    for (const { level, msg } of reports) expect([level, msg]).toEqual([40, report]);
  });

  // The last test of this broker: it stops it.
  test.skipIf(at.isMissing)('ends with 0 on SIGTERM', async () => {
    const broker = shared();
    broker.pause();
    await fillLog(broker);
    process.kill(broker.pid, 'SIGTERM');
    await until(() => hasExited(broker.pid));
    expect(existsSync(broker.socketPath)).toBe(false);
    broker.resume();
    expect(await broker.run.exited).toBe(0);
  });
});

describe('a broker whose log cannot be written', () => {
  const hasFullDevice = existsSync('/dev/full');

  test.skipIf(!hasFullDevice)(
    `continues, and reports it once${hasFullDevice ? '' : ' (skipped: this machine has no /dev/full)'}`,
    async () => {
      const { socketPath, args } = paths();
      const command = 'exec "$0" "$@" > /dev/full';
      const run = new CliRun(spawn('/bin/sh', ['-c', command, process.execPath, cliScript(), ...args]));
      await run.says('cannot write the log');
      await until(() => existsSync(socketPath));
      await visit(socketPath, 20);
      await deliver(socketPath);
      run.child.kill('SIGTERM');
      expect(await run.exited).toBe(0);
      expect(run.stderr).toMatch(/^sluice: cannot write the log: ENOSPC: no space left on device.*\n$/);
    },
  );

  test('continues when the reader of the pipe has ended', async () => {
    const { run, socketPath } = await brokerInPipe();
    run.child.stdout.destroy();
    await visit(socketPath, 20);
    await run.says('cannot write the log');
    await deliver(socketPath);
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
    expect(run.stderr).toMatch(/^sluice: cannot write the log: .*EPIPE\n$/);
  });
});

describe(`commands in a terminal that nobody reads${without(missing)}`, () => {
  test.skipIf(skipped)('sluice sub ends on SIGTERM', async () => {
    const { manager, socketPath, connect } = await startPlainBroker();
    const run = sluiceInTerminal(['sub', '--socket', socketPath, '--overflow', 'block']);
    await until(() => (manager.getMetrics().protocol.subscriptions ?? 0) > 0);
    readerOf(run).pause();
    const crawler = await connect();
    // It reads no more when it cannot write: then its messages wait in the broker.
    const waiting = () =>
      manager
        .getConnectionPool()
        .all()
        .some(({ outbox }) => outbox.pendingBytes > 0);
    const block = line({ ...VALID.heartbeat, note: 'x'.repeat(10_000) }).repeat(10);
    do {
      crawler.write(block);
      await crawler.settled();
    } while (!waiting());
    await endsOnSigterm(run);
  });

  test.skipIf(skipped)('sluice top goes on asking the broker, and ends on SIGTERM', async () => {
    const adminPath = join(temporaryFolder(), 'admin.sock');
    const { connect } = await startPlainBroker({ admin: adminPath });
    // One screen is more than a terminal holds.
    await Promise.all(Array.from({ length: 150 }, connect));
    const run = sluiceInTerminal(['top', '--admin', adminPath], { lines: 400, columns: 200 });
    await run.says('q quit');
    readerOf(run).pause();
    let requests = 0;
    const onRequest = () => {
      requests++;
    };
    subscribe('http.server.request.start', onRequest);
    onTestFinished(() => void unsubscribe('http.server.request.start', onRequest));
    await until(() => requests >= 4);
    await endsOnSigterm(run);
  });
});

async function endsOnSigterm(run: CliRun): Promise<void> {
  const pid = run.childPid();
  process.kill(pid, 'SIGTERM');
  await until(() => hasExited(pid));
  readerOf(run).resume();
  expect(await run.exited).toBe(0);
}
