import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startOf } from '#src/log/log-start.js';
import { temporaryFolder } from '../../support/broker.js';
import { FaultyDisk } from '../../support/faulty-disk.js';
import { appendNumbered, openMessageLog } from '../../support/message-log.js';
import { SPELLINGS } from '../../support/spellings.js';

test('if the cursors were lost, those that are not known begin with the oldest message', async () => {
  const folder = join(temporaryFolder(), 'log');
  mkdirSync(folder, { mode: 0o700 });
  writeFileSync(join(folder, 'cursors.json'), '');
  const errors: unknown[] = [];
  const log = await openMessageLog({ folder, onCursorError: (error) => errors.push(error) });
  onTestFinished(() => void log.close(1000));
  appendNumbered(log, 0, 10);
  expect(errors).toHaveLength(1);
  for (const from of ['new', 'first', undefined, { time: '2999-01-01T00:00:00Z' }] as const)
    expect(startOf(log, { from, cursor: 'a' })).toEqual({ offset: 0 });
  expect(startOf(log, { from: 'new' })).toEqual({ offset: 10 });
  expect(startOf(log, { from: { offset: `${log.epoch}:7` }, cursor: 'a' })).toEqual({ offset: 7 });
  await log.whenDurable();
  log.moveCursor('a', 8);
  expect(startOf(log, { cursor: 'a' })).toEqual({ offset: 8 });
});

test('if the log lacks messages that a cursor has passed, the next ones get other offsets', async () => {
  const folder = join(temporaryFolder(), 'log');
  const log = await openMessageLog({ folder });
  appendNumbered(log, 0, 10);
  await log.whenDurable();
  log.moveCursor('behind', 4);
  await log.close(1000);
  const saved = JSON.parse(readFileSync(join(folder, 'cursors.json'), 'utf8'));
  saved.cursors.$ahead = { epoch: log.epoch, offset: 15 };
  writeFileSync(join(folder, 'cursors.json'), JSON.stringify(saved));
  const errors: unknown[] = [];
  const reopen = async () => {
    const reopened = await openMessageLog({ folder, onCursorError: (error) => errors.push(error) });
    onTestFinished(() => void reopened.close(1000));
    return reopened;
  };
  const restored = await reopen();
  expect(errors).toMatchObject([{ code: 'LOG_OUTDATED', message: expect.stringContaining('5 messages') }]);
  expect(startOf(restored, { cursor: 'behind' })).toEqual({ offset: 4 });
  expect(startOf(restored, { cursor: '$ahead' })).toEqual({ offset: 15 });
  const { end } = restored;
  expect(appendNumbered(restored, 10, 12)).toBe(end + 2);
  await restored.whenDurable();
  const reader = restored.reader(15);
  expect(await reader.next()).toMatchObject({ from: 15, to: end });
  expect(await reader.next()).toMatchObject({ header: { first: end, count: 2 } });
  await reader.close();
  restored.moveCursor('$ahead', end + 2);
  await restored.close(1000);
  expect((await reopen()).end).toBe(end + 2);
  expect(errors).toHaveLength(1);
});

test('a cursor is not created after messages that a crash may take away', async () => {
  const disk = FaultyDisk.install();
  const log = await openMessageLog();
  onTestFinished(() => void log.close(1000));
  disk.hang();
  appendNumbered(log, 0, 10);
  log.moveCursor('a', startOf(log, { cursor: 'a' }).offset);
  expect(startOf(log, { cursor: 'a' })).toEqual({ offset: 0 });
  disk.work();
});

test('a time may have any spelling of a timestamp', async () => {
  const log = await openMessageLog();
  onTestFinished(() => void log.close(1000));
  for (const [text, time] of SPELLINGS)
    expect([text, startOf(log, { from: { time: text } }).time]).toEqual([text, time]);
});
