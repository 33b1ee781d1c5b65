import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startOf } from '#src/log/log-start.js';
import { temporaryFolder } from '../../support/broker.js';
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
  log.moveCursor('a', 8);
  expect(startOf(log, { cursor: 'a' })).toEqual({ offset: 8 });
});

test('a time may have any spelling of a timestamp', async () => {
  const log = await openMessageLog();
  onTestFinished(() => void log.close(1000));
  for (const [text, time] of SPELLINGS)
    expect([text, startOf(log, { from: { time: text } }).time]).toEqual([text, time]);
});
