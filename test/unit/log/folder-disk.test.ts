import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, linkSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { FolderDisk, replaceFile } from '#src/log/disk.js';
import { readLog } from '#src/log/log-reader.js';
import { LogStore } from '#src/log/log-store.js';
import { temporaryFolder } from '../../support/broker.js';
import { packageRoot } from '../../support/cli.js';
import { logEntry } from '../../support/log-entry.js';

const isRoot = process.geteuid?.() === 0;
const modeOf = (path: string) => statSync(path).mode & 0o777;

test('a writer that is killed loses nothing that was durable, and writes nothing twice', async () => {
  const folder = join(temporaryFolder(), 'log');
  const script = join(packageRoot, 'test/support/log-writer.mjs');
  let before = 0;
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    // After the start, at any time.
    while (output.split('\n').length < 3 && child.exitCode === null) await delay(5);
    await delay(round * 40);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const durable = Number(output.split('\n').at(-2));
    const disk = await FolderDisk.create(folder);
    const log = await LogStore.open(disk);
    expect(log.end).toBeGreaterThanOrEqual(durable);
    expect(durable).toBeGreaterThan(before);
    let next: number | undefined;
    for await (const part of readLog(disk)) {
      if ('to' in part) throw new Error(`messages ${part.from} to ${part.to} are missing`);
      const { first } = part.header;
      expect(first).toBe(next ?? first);
      expect(JSON.parse(part.body.toString())).toMatchObject({ offset: first });
      next = first + 1;
    }
    expect(next).toBe(log.end);
    expect(log.bytes).toBeLessThanOrEqual(1024 * 1024);
    before = log.end;
  }
});

test('the files belong to the user of the broker alone', async () => {
  const folder = join(temporaryFolder(), 'new', 'log');
  const disk = await FolderDisk.create(folder);
  const log = await LogStore.open(disk);
  log.append(logEntry(['{}']));
  expect(await log.close()).toBe(true);
  expect(modeOf(folder)).toBe(0o700);
  const names = readdirSync(folder);
  expect(names).toHaveLength(1);
  for (const name of names) expect(modeOf(join(folder, name))).toBe(0o600);
});

test.skipIf(!isRoot)(
  `what root writes belongs to the owner of the folder, but no file that is also elsewhere${isRoot ? '' : ' (skipped: needs root)'}`,
  async () => {
    const folder = temporaryFolder();
    const [user, group] = [54_321, 54_322];
    chownSync(folder, user, group);
    const disk = await FolderDisk.create(folder);
    // Left by a command that was killed.
    writeFileSync(join(folder, 'cursors.tmp'), '');
    await replaceFile(disk, 'cursors.json', Buffer.from('{}'));
    const log = await LogStore.open(disk);
    await log.ensureSegment();
    await log.close();
    const names = readdirSync(folder);
    expect(names).toHaveLength(2);
    for (const name of names) expect(statSync(join(folder, name))).toMatchObject({ uid: user, gid: group });
    const elsewhere = join(temporaryFolder(), 'elsewhere');
    writeFileSync(elsewhere, '');
    linkSync(elsewhere, join(folder, 'link'));
    await (await disk.open('link', 'create')).close();
    expect(statSync(elsewhere).uid).toBe(0);
  },
);

test('a link in the folder is not followed', async () => {
  const folder = temporaryFolder();
  const target = join(folder, 'target');
  writeFileSync(target, 'content');
  symlinkSync(target, join(folder, '00000000000000000000.seg'));
  const disk = await FolderDisk.create(folder);
  await expect(LogStore.open(disk)).rejects.toMatchObject({ code: 'ELOOP' });
});

test('a file that was removed or replaced is no longer in place', async () => {
  const disk = await FolderDisk.create(temporaryFolder());
  const [removed, replaced] = await Promise.all(
    ['removed', 'replaced'].map((name) => disk.open(name, 'create')),
  );
  const other = await disk.open('other', 'create');
  const inPlace = () => Promise.all([removed, replaced, other].map((file) => file?.isInPlace()));
  expect(await inPlace()).toEqual([true, true, true]);
  await disk.remove('removed');
  await disk.rename('other', 'replaced');
  expect(await inPlace()).toEqual([false, false, false]);
  for (const file of [removed, replaced, other]) await file?.close();
});

test('a write of more buffers than a system call takes is whole', async () => {
  const disk = await FolderDisk.create(temporaryFolder());
  const file = await disk.open('a', 'create');
  const buffers = Array.from({ length: 3000 }, (_, number) => Buffer.from(`${number} `));
  await file.write(buffers, 10);
  const expected = Buffer.concat(buffers);
  const bytes = Buffer.alloc(expected.length + 100);
  const length = await file.read(bytes, 10);
  expect(bytes.subarray(0, length)).toEqual(expected);
  expect(await file.size()).toBe(10 + expected.length);
  await file.close();
});

test('very many small buffers are written at once, between large ones', async () => {
  const disk = await FolderDisk.create(temporaryFolder());
  const file = await disk.open('many', 'create');
  const handle = await open(import.meta.filename);
  const writev = vi.spyOn(Object.getPrototypeOf(handle), 'writev');
  onTestFinished(() => writev.mockRestore());
  await handle.close();
  const small = Array.from({ length: 20_000 }, (_, index) => Buffer.from(`${index} `));
  const large = Buffer.alloc(10_000, 'x');
  const buffers = [large, ...small, large, large, Buffer.from('y'), large];
  await file.write(buffers, 3);
  expect(writev).toHaveBeenCalledOnce();
  const content = Buffer.alloc(await file.size());
  await file.read(content, 0);
  expect(content.equals(Buffer.concat([Buffer.alloc(3), ...buffers]))).toBe(true);
  await file.close();
});
