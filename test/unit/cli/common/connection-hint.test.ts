import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { connectFaultOf, connectionHint } from '#src/cli/common/connection-hint.js';
import { startPlainBroker, temporaryFolder } from '../../../support/broker.js';
import { cliScript, shareSluice } from '../../../support/cli.js';

const run = shareSluice();
/** Only root can start a process of another user. */
const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;

describe('a failed connection', () => {
  test.each([
    [['pub', '--socket', '/nowhere.sock'], 'Start it with: sluice serve --socket /nowhere.sock'],
    [['sub', '--socket', '/no where.sock'], "Start it with: sluice serve --socket '/no where.sock'"],
    [['sub', '--port', '1'], 'Start it with: sluice serve --port 1'],
    [['bench', '--socket', '/nowhere.sock'], 'Start it with: sluice serve --socket /nowhere.sock'],
    [['status', '--admin', '/nowhere.sock'], 'Start it with: sluice serve --admin /nowhere.sock'],
    [['status', '--admin', '[::1]:1'], 'Start it with: sluice serve --admin [::1]:1'],
    [['top', '--admin', '127.0.0.1:1'], 'Start it with: sluice serve --admin 127.0.0.1:1'],
    [['sub', '--host', 'nowhere.invalid', '--port', '1'], 'Is the host name right?'],
  ])('%j comes with the next step', async (args, hint) => {
    const { code, stdout, stderr } = await run(args);
    expect([code, stdout]).toEqual([69, '']);
    const [error, next, ...others] = stderr.split('\n');
    expect(error).toMatch(/^sluice: CONNECTION_FAILED: /);
    expect(next).toContain(hint);
    expect(others).toEqual(['']);
  });

  test('a file that no broker listens on is like none', async () => {
    const file = join(temporaryFolder(), 'stale.sock');
    writeFileSync(file, '');
    const { stderr } = await run(['pub', '--socket', file]);
    expect(stderr).toContain(`Start it with: sluice serve --socket ${file}`);
  });

  test('an answer of another kind of server has no hint', async () => {
    const path = join(temporaryFolder(), 'other.sock');
    const server = createServer((_, response) => response.writeHead(404).end()).listen(path);
    const { code, stderr } = await run(['status', '--admin', path]);
    server.close();
    expect(code).toBe(69);
    expect(stderr).not.toContain('Start it with');
  });

  const note = isRoot ? '' : ' (skipped: needs root)';
  test.skipIf(!isRoot)(`without permission, names users, groups and the mode${note}`, async () => {
    const folder = temporaryFolder();
    chmodSync(folder, 0o755);
    const { socketPath } = await startPlainBroker({ socketPath: join(folder, 'b.sock'), socketMode: '0660' });
    const pub = (path: string) =>
      spawnSync(process.execPath, [cliScript(), 'pub', '--socket', path], {
        uid: NOBODY,
        gid: NOBODY,
        input: '',
      });
    const denied = pub(socketPath);
    expect(denied.status).toBe(69);
    expect(String(denied.stderr)).toMatch(
      /\nThe socket has mode 0660, user 0 \(root\), group 0 \(\w+\); this process has user 65534/,
    );
    mkdirSync(join(folder, 'closed'), { mode: 0o700 });
    expect(String(pub(join(folder, 'closed/b.sock')).stderr)).toContain(
      '\nA folder of the path cannot be entered; this process has user 65534',
    );
  });
});

test('a default address needs no flag, and other faults have no hint', () => {
  expect(connectionHint({ code: 'ECONNREFUSED' }, 'broker')).toMatch(/: sluice serve$/);
  expect(connectionHint({ code: 'ECONNREFUSED', address: '10.0.0.1', port: 7 }, 'broker')).toMatch(
    /: sluice serve --host 10\.0\.0\.1 --port 7$/,
  );
  expect(connectionHint({ code: 'ETIMEDOUT' }, 'broker')).toBeUndefined();
  expect(connectFaultOf(new Error('without a cause'))).toBeUndefined();
});
