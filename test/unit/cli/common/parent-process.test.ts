import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { packageRoot } from '../../../support/cli.js';

test.each([
  ['still has something to send', 500],
  ['fails because the command has exited', 0],
])('a process that %s exits without an error with the command that started it', async (_, busy) => {
  const child = fork(join(packageRoot, 'test/support/busy-child.mjs'), {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const stderr = text(child.stderr as Readable);
  child.send(busy);
  expect(await once(child, 'message')).toEqual([{ busy }, undefined]);
  child.disconnect();
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(await stderr).toBe('');
});
