import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { verify } from '#src/cli/log/log-actions.js';
import { FolderDisk } from '#src/log/disk.js';
import { startPlainBroker, temporaryFolder } from '../../../support/broker.js';
import { shareSluice } from '../../../support/cli.js';
import { line, VALID } from '../../../support/messages.js';
import { Peer } from '../../../support/peer.js';
import { share, type WhenOver } from '../../../support/share.js';

const run = shareSluice();

/** A log with 3 heartbeats and 3 messages of two jobs, and a cursor after the second message. */
async function writeLog(whenOver: WhenOver) {
  const log = join(temporaryFolder(whenOver), 'log');
  const { manager, socketPath } = await startPlainBroker({ log }, whenOver);
  const peer = await Peer.connect(socketPath);
  const { heartbeat, job_started } = VALID;
  peer.say('hello', { role: 'crawler', crawlerId: 'c-1' });
  const job = (jobId: string) => line({ ...job_started, jobId });
  peer.write(
    line(heartbeat) + job('job-1') + line(heartbeat) + job('job-2') + line(heartbeat) + job('job-1'),
  );
  await peer.settled();
  const app = await Peer.connect(socketPath);
  await app.subscribe({ id: 'a', cursor: 'database', ack: 'manual', from: 'first' });
  const { position } = (await app.next('position')).data as { position: string };
  const [epoch] = position.split(':');
  app.say('ack', { id: 'a', position: `${epoch}:2` });
  await app.settled();
  await manager.stop();
  return { log, epoch };
}

/** A broker whose log has 12 messages in several files. */
async function startWithFiles() {
  const log = join(temporaryFolder(), 'log');
  const { manager, connect } = await startPlainBroker({ log, logSegmentBytes: 65_536 });
  const peer = await connect();
  const big = line({ ...VALID.job_failed, data: { error: 'x'.repeat(20_000), isRecoverable: true } });
  for (let count = 0; count < 12; count++) {
    peer.write(big);
    await peer.settled();
  }
  return { log, manager };
}

describe('sluice log', () => {
  const shared = share(writeLog);

  test('ls: files, size, cursors', async () => {
    const { log, epoch } = shared();
    const { code, stdout } = await run(['log', 'ls', log]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^epoch ${epoch}, offsets 0 to 6, [\\d.]+ kB\n`));
    expect(stdout).toMatch(/^0{20}\.seg {2}6 {9}/m);
    expect(stdout).toMatch(new RegExp(`^database  ${epoch}:2  4 behind$`, 'm'));
    const json = JSON.parse((await run(['log', 'ls', log, '--json'])).stdout);
    expect(json).toMatchObject({ epoch, first: 0, end: 6, cursors: [{ name: 'database', behind: 4 }] });
  });

  test('cat: messages, by type, job, crawler and position', async () => {
    const { log, epoch } = shared();
    const cat = async (...flags: string[]) =>
      (await run(['log', 'cat', log, ...flags])).stdout.split('\n').slice(0, -1);
    expect(await cat()).toHaveLength(6);
    expect((await cat())[0]).toBe(JSON.stringify(VALID.heartbeat));
    expect(await cat('--types', 'job_*')).toHaveLength(3);
    expect(await cat('--job', 'job-1')).toHaveLength(2);
    expect(await cat('--crawler', 'c-2')).toHaveLength(0);
    expect(await cat('--from', '1', '--to', `${epoch}:4`)).toHaveLength(3);
    expect((await cat('--job', 'job-2', '--meta'))[0]).toMatch(
      /^\{"from":"[^"]+","crawlerId":"c-1","seq":5,"offset":3,"message":\{/,
    );
  });

  test('verify: whether all of it is intact', async () => {
    const { log, epoch } = shared();
    const { code, stdout } = await run(['log', 'verify', log]);
    expect(stdout).toMatch(/^6 messages \([\d.]+ k?B\) in 1 file: intact\n$/);
    expect(code).toBe(0);
    expect(JSON.parse((await run(['log', 'verify', log, '--json'])).stdout)).toMatchObject({
      epoch,
      messages: 6,
      gaps: [],
    });
  });

  test('verify: a damaged file', async () => {
    const { log, manager } = await startWithFiles();
    await manager.stop();
    const file = join(log, '00000000000000000000.seg');
    const bytes = readFileSync(file);
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    const { code, stdout } = await run(['log', 'verify', log]);
    expect(stdout).toMatch(/^messages 0 to 0 are missing: damaged\n11 messages \(.*\) in \d files: 1 gap\n$/);
    expect(code).toBe(1);
    const { stderr } = await run(['log', 'cat', log]);
    expect(stderr).toBe('sluice log: messages 0 to 0 are missing: damaged\n');
  });

  test('verify: a file whose header is damaged, also once a broker has put it aside', async () => {
    const { log, manager } = await startWithFiles();
    await manager.stop();
    const names = readdirSync(log).filter((each) => each.endsWith('.seg'));
    const name = names.sort().at(-1) ?? '';
    const bytes = readFileSync(join(log, name));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    writeFileSync(join(log, name), bytes);
    const { code, stdout } = await run(['log', 'verify', log]);
    expect(stdout).toMatch(
      /^0+\d+\.seg is unreadable: its header is damaged\n\d+ messages \(.*\) in \d files: 1 damaged file\n$/,
    );
    expect(code).toBe(1);
    const again = await startPlainBroker({ log });
    await again.manager.stop();
    const { code: codeAgain, stdout: json } = await run(['log', 'verify', log, '--json']);
    expect(JSON.parse(json)).toMatchObject({ damaged: [`damaged-${name}`] });
    expect(codeAgain).toBe(1);
    for (const other of names) if (other !== name) rmSync(join(log, other));
    expect(await run(['log', 'verify', log])).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('all files of the log are damaged'),
    });
  });

  test('verify: a file that a broker removes meanwhile is not missing, another one is', async () => {
    const { log, manager } = await startWithFiles();
    await manager.stop();
    const files = readdirSync(log).filter((name) => name.endsWith('.seg'));
    const print = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const { open } = FolderDisk.prototype;
    let opened = 0;
    const opening = vi.spyOn(FolderDisk.prototype, 'open').mockImplementation(function (
      this: FolderDisk,
      ...args
    ) {
      // It has listed the files twice, and begins to read them.
      if (opened++ === 2 * files.length) rmSync(join(log, files[0] ?? ''));
      return open.apply(this, args);
    });
    onTestFinished(() => {
      print.mockRestore();
      opening.mockRestore();
    });
    expect(await verify(log, {})).toBe(0);
    rmSync(join(log, files[2] ?? ''));
    expect(await verify(log, {})).toBe(1);
  });

  test('wrong arguments and folders are errors', async () => {
    const { log } = shared();
    expect(await run(['log', 'ls', join(log, 'none')])).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('LOG_UNUSABLE'),
    });
    expect(await run(['log', 'list', log])).toMatchObject({ code: 64 });
    expect(await run(['log', 'cat', log, '--from', 'x'])).toMatchObject({ code: 64 });
    expect(await run(['log', 'cat', log, '--from', '00000000000000ff:1'])).toMatchObject({ code: 64 });
    expect(await run(['log', 'truncate', log])).toMatchObject({
      code: 64,
      stderr: 'error: --to: truncate needs a position\n(add --help for usage)\n',
    });
    // A flag without effect could remove more than was meant.
    expect(await run(['log', 'truncate', log, '--to', '1', '--from', '1'])).toMatchObject({
      code: 64,
      stderr: 'error: --from: has no effect with truncate\n(add --help for usage)\n',
    });
  });

  test('a folder that is no log is an error of all actions', async () => {
    const empty = temporaryFolder();
    const other = temporaryFolder();
    writeFileSync(join(other, 'notes.txt'), 'x');
    for (const folder of [empty, other]) {
      for (const args of [
        ['ls'],
        ['cat'],
        ['verify'],
        ['truncate', '--to', '1'],
        ['forget', '--cursor', 'a'],
      ]) {
        const [action = '', ...flags] = args;
        expect(await run(['log', action, folder, ...flags])).toEqual({
          code: 78,
          stdout: '',
          stderr: expect.stringMatching(/LOG_UNUSABLE: .*: there is no durable log in this folder\n$/),
        });
      }
    }
  });

  test('a log without messages is shown, with its cursors', async () => {
    const log = join(temporaryFolder(), 'log');
    const { manager, connect } = await startPlainBroker({ log });
    await (await connect()).subscribe({ id: 'a', cursor: 'database', from: 'first' });
    await (await connect()).subscribe({ id: 'a', cursor: '\u009b\u202e', from: 'first' });
    await manager.stop();
    const { code, stdout } = await run(['log', 'ls', log]);
    expect(stdout).toMatch(/^database {2}\w{16}:0 {2}0 behind$/m);
    expect(code).toBe(0);
    const json = (await run(['log', 'ls', log, '--json'])).stdout;
    expect(json).toMatch(/^[\u0020-\u007e\n]*$/);
    expect(JSON.parse(json).cursors.map(({ name }: { name: string }) => name)).toContain('\u009b\u202e');
    expect((await run(['log', 'verify', log])).stdout).toBe('0 messages (0 B) in 1 file: intact\n');
    expect(await run(['log', 'cat', log])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await run(['log', 'truncate', log, '--to', '0'])).toMatchObject({ code: 0 });
    expect(await run(['log', 'forget', log, '--cursor', 'database'])).toMatchObject({ code: 0 });
  });

  test('forget: removes a cursor', async () => {
    const { log } = shared();
    expect(await run(['log', 'forget', log])).toMatchObject({ code: 64 });
    expect(await run(['log', 'forget', log, '--cursor', 'none'])).toMatchObject({ code: 1 });
    expect(await run(['log', 'forget', log, '--cursor', 'database'])).toMatchObject({ code: 0 });
    expect(JSON.parse((await run(['log', 'ls', log, '--json'])).stdout)).toMatchObject({ cursors: [] });
  });

  test('truncate: removes whole files, and not while a broker is using them', async () => {
    const { log, manager } = await startWithFiles();
    expect(await run(['log', 'truncate', log, '--to', '5'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('LOG_IN_USE'),
    });
    await manager.stop();
    const { stdout } = await run(['log', 'truncate', log, '--to', '5']);
    expect(stdout).toMatch(/^removed 1 file, /);
    expect(JSON.parse((await run(['log', 'verify', log, '--json'])).stdout)).toMatchObject({
      messages: 9,
      gaps: [],
    });
  });
});
