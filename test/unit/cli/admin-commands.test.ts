import { execFileSync } from 'node:child_process';
import { readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ask, shareAdminBroker, startAdminBroker, startSlowBroker } from '../../support/admin.js';
import { LIGHT, temporaryFolder } from '../../support/broker.js';
import { shareSluice, sluice, sluiceInTerminal } from '../../support/cli.js';
import { changed, line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import { screenOf } from '../../support/screen.js';
import { missingTools, without } from '../../support/tools.js';

const missing = missingTools('python3');
const runShared = shareSluice();
const sharedBroker = shareAdminBroker(LIGHT);

test('sluice drift prints what the schemas do not know, and exits with 1 if there is anything', async () => {
  const { adminPath, connect } = sharedBroker();
  expect(await runShared(['drift', '--admin', adminPath])).toMatchObject({
    code: 0,
    stdout: 'no differences found\n',
  });
  const crawler = await connect();
  crawler.say('hello', { role: 'crawler', crawlerId: 'crawler\u009b\u202e-1' });
  crawler.write(line(changed('job_progress', { entityType: 'wiki' })));
  await crawler.settled();
  const run = await runShared(['drift', '--admin', adminPath]);
  expect(run.code).toBe(1);
  expect(run.stdout).toMatch(
    /^unknown value: job_progress data\.entityType = wiki \(seen 1 time from .*Z to .*Z\)$/m,
  );
  expect(run.stdout).toMatch(/^ {2}crawler\?\?-1, since .*Z$/m);
  const json = await runShared(['drift', '--json', '--admin', adminPath]);
  const sources = [{ id: 'crawler\u009b\u202e-1' }];
  expect(JSON.parse(json.stdout)).toMatchObject([
    { kind: 'unknown_value', value: 'wiki', sightings: 1, sources },
  ]);
  expect(json.stdout).toMatch(/^[\u0020-\u007e\n]*$/);
});

describe('sluice status', () => {
  test('prints how the broker is, and exits 0 when it is ready, 1 when it is not', async () => {
    const { adminPath, connect } = await startAdminBroker({ ...LIGHT, maxConnections: 2 });
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + line({ type: 'nonsense' }));
    await crawler.settled();
    const run = await runShared(['status', '--admin', adminPath]);
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/^broker +running, /);
    expect(run.stdout).toMatch(/^rejected +1 \(UNKNOWN_TYPE 1\)$/m);
    expect(run.stdout).toMatch(/^peers +1, 1 crawler, 0 slow$/m);
    expect(run.stdout).not.toMatch(/^log /m);
    await (await connect()).settled();
    // The statistics may be as old as the shortest interval between two samples.
    await expect
      .poll(() => runShared(['status', '--admin', adminPath]))
      .toMatchObject({ code: 1, stdout: expect.stringContaining('saturated') });
  });

  test('--json is for programs; the place may come from the environment', async () => {
    const { adminPath } = sharedBroker();
    const run = await runShared(['status', '--json'], { SOCKET_ADMIN: adminPath });
    expect(run.code).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({ state: 'running', connections: { open: 0 } });
  });

  test('reports that the broker is starting, and so does top', async () => {
    const { adminPath, open } = await startSlowBroker(LIGHT);
    for (const args of [['status'], ['top']]) {
      const run = await runShared([...args, '--admin', adminPath]);
      expect(run.code).toBe(1);
      expect(run.stdout.trimEnd()).toBe('broker    starting');
      expect(run.stderr).toBe('');
    }
    const run = await runShared(['status', '--json', '--admin', adminPath]);
    expect(run.code).toBe(1);
    expect(JSON.parse(run.stdout)).toEqual({ ready: false, reason: 'starting' });
    await open();
    expect((await runShared(['status', '--admin', adminPath])).code).toBe(0);
  });

  test.each([
    [['status', '--admin', '/nowhere.sock'], 69, '/nowhere.sock'],
    [['top', '--admin', '127.0.0.1:1'], 69, '127.0.0.1:1'],
    [['status', '--admin', 'here'], 78, '--admin: must be host:port'],
    [['status', '--admin', 'http://127.0.0.1:9464'], 78, 'not a URL'],
    [['status', '--admin', `/${'x'.repeat(120)}`], 78, '--admin: must be at most 107 bytes'],
    [['top', '--interval', '0'], 64, 'Expected an integer'],
    [['top', '--interval', '2147484'], 64, 'Expected an integer from 1 to 2147483.'],
    [['serve', '--admin', '0.0.0.0:9464'], 78, 'adminAllowRemote'],
    [['serve', '--admin', 'here'], 78, 'admin: must be host:port'],
  ])('%j has exit code %i and says why', async (args, code, text) => {
    const run = await runShared(args);
    expect(run.code).toBe(code);
    expect(run.stderr).toContain(text);
    expect(run.stdout).toBe('');
  });
});

describe('sluice top', () => {
  test('without a terminal, looks once: the rates, and the connections', async () => {
    const { adminPath, connect } = sharedBroker();
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-\u001b[2J' });
    await crawler.settled();
    const run = await runShared(['top', '--admin', adminPath]);
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/^PEER +ROLE +HEALTH +IN\/s\* /m);
    // A peer's name must not move the cursor.
    expect(run.stdout).toMatch(/^crawler-\?\[2J +crawler +healthy/m);
    expect(run.stdout).not.toContain('\u001b');
  });

  test.skipIf(missing.length > 0)(
    `in a terminal, takes the screen, sorts by the key that is pressed, and gives the screen back${without(missing)}`,
    async () => {
      const { adminPath } = sharedBroker();
      const run = sluiceInTerminal(['top', '--admin', adminPath, '--interval', '60']);
      await run.says('IN/s*');
      await run.says('q quit');
      expect(run.stdout).toContain('sort by n peer k role');
      expect(run.stdout.startsWith('\u001b[?1049h')).toBe(true);
      for (const [key, head] of [
        ['n', 'PEER*'],
        ['p', 'PENDING*'],
        ['e', 'REJECTED*'],
      ] as const) {
        expect(run.stdout).not.toContain(head);
        run.child.stdin.write(key);
        await run.says(head);
      }
      run.child.stdin.write('q');
      expect(await run.exited).toBe(0);
      expect(run.stdout.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
    },
  );

  test.skipIf(missing.length > 0).each([
    [80, 24, 'SIGTERM'],
    [120, 30, 'SIGINT'],
    // A terminal that does not know its size.
    [0, 0, 'SIGHUP'],
  ] as const)(
    `fits a terminal of %i × %i, shows which of the connections it shows, and restores the terminal on %s${without(missing)}`,
    async (width, height, signal) => {
      const { adminPath, connect, read } = sharedBroker();
      for (let number = 1; number <= 20; number++) {
        const crawler = await connect();
        crawler.say('hello', { role: 'crawler', crawlerId: `crawler-${'x'.repeat(60)}-${number}` });
        await crawler.settled();
      }
      // The broker may answer with what it sampled before, for 400 ms.
      await expect
        .poll(async () => (await read<{ total: number }>('/api/connections?limit=1')).total)
        .toBe(20);
      const run = sluiceInTerminal(['top', '--admin', adminPath, '--interval', '60'], {
        lines: height,
        columns: width,
      });
      await run.says('q quit');
      // The last that is whole: a terminal that is told its size has the screen drawn once more.
      const frames = run.stdout.split('\u001b[H').filter((text) => text.includes('\u001b[J'));
      const [frame = ''] = frames.at(-1)?.split('\u001b[J') ?? [];
      // The terminal has a carriage return of its own before each newline.
      const lines = frame.replaceAll('\u001b[K', '').split(/\r+\n/);
      const columns = width || 80;
      expect(lines.length).toBe(height || 24);
      for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(columns);
      const rows = lines.filter((line) => line.startsWith('crawler-x'));
      expect(lines).toContain(`1–${rows.length} of 20`);
      expect(rows.length).toBe((height || 24) - 16);
      expect(rows[0]?.split(' ')[0]?.length).toBe(columns === 80 ? 12 : 40);
      expect(lines.find((line) => line.startsWith('PEER'))).toMatch(/ REJECTED$/);
      expect(lines.slice(-2)).toEqual([
        expect.stringMatching(/^sort by n peer .* e rejected$/),
        expect.stringMatching(/^q quit {2}\? help .* space pause$/),
      ]);
      process.kill(run.childPid(), signal);
      expect(await run.exited).toBe(0);
      expect(run.stdout.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
    },
  );

  describe.skipIf(missing.length > 0)(`in a terminal${without(missing)}`, () => {
    /** A terminal with a list of crawlers, `crawler-01` to `crawler-20`, sorted by their names. */
    async function listCrawlers(size?: { lines: number; columns: number }) {
      const { adminPath, connect, read } = sharedBroker();
      for (let number = 1; number <= 20; number++) {
        const crawler = await connect();
        crawler.say('hello', { role: 'crawler', crawlerId: `crawler-${String(number).padStart(2, '0')}` });
        await crawler.settled();
      }
      await expect
        .poll(async () => (await read<{ total: number }>('/api/connections?limit=1')).total)
        .toBe(20);
      const run = sluiceInTerminal(['top', '--admin', adminPath, '--interval', '60'], size);
      await run.says('q quit');
      run.child.stdin.write('n');
      await run.says('PEER*');
      return {
        run,
        pid: run.childPid(),
        lastFrame: () => screenOf(run.stdout.slice(run.stdout.lastIndexOf('\u001b[H'))),
      };
    }

    test('scrolls, filters, lists the types and shows its keys', async () => {
      const { run, lastFrame } = await listCrawlers({ lines: 24, columns: 80 });
      const press = async (keys: string, text: string) => {
        run.child.stdin.write(keys);
        await expect.poll(() => lastFrame().join('\n')).toContain(text);
      };
      await press('\u001b[6~', '9–16 of 20');
      await press('\u001b[F', '13–20 of 20');
      await press('\u001b[A', '12–19 of 20');
      await press('\u001b[H', '1–8 of 20');
      await press('r', '1–8 of 20, reversed');
      expect(lastFrame().join('\n')).toContain('crawler-20');
      await press('/-0\u0007', 'filter: -0_');
      await press('\r', '1–8 of 9, reversed, filter: -0');
      await press('\u001b', '1–8 of 20, reversed');
      await press('t', 'TYPE ');
      await press('?', 'sort by accepted');
      run.child.stdin.write('q');
      expect(await run.exited).toBe(0);
    });

    test('follows the size of the terminal, and leaves it as it was on Ctrl-C', async () => {
      const { run, pid, lastFrame } = await listCrawlers({ lines: 24, columns: 80 });
      execFileSync('stty', ['-F', readlinkSync(`/proc/${pid}/fd/0`), 'rows', '10', 'cols', '40']);
      await expect.poll(() => lastFrame()).toContain('1–4 of 20');
      expect(lastFrame()).toHaveLength(10);
      expect(lastFrame()).toContain('PEER*           HEALTH      IN/s   OUT/s');
      run.child.stdin.write('\u0003');
      expect(await run.exited).toBe(0);
      expect(run.stdout.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
    });
  });
});

describe('sluice serve with an admin server at a Unix socket', () => {
  test('logs how to open it; SIGHUP changes the log level and the tokens at once, and names what needs a restart', async () => {
    const folder = temporaryFolder();
    const [socketPath, config, admin] = ['b.sock', 'config.json', 'a.sock'].map((name) => join(folder, name));
    const tokens = (token: string) => ({ auth: { tokens: { app: [token] } } });
    const [before, after] = ['the-first-token-0123', 'the-second-token-0123'];
    const write = (options: object) => writeFileSync(config ?? '', JSON.stringify(options), { mode: 0o600 });
    write(tokens(before ?? ''));
    const run = sluice([
      'serve',
      '--socket',
      socketPath ?? '',
      '--workers',
      '1',
      '--patterns',
      'off',
      '--admin',
      admin ?? '',
      '--config',
      config ?? '',
    ]);
    await run.says('"msg":"listening"');
    const [command = ''] = /curl --unix-socket [^"]+/.exec(run.stdout) ?? [];
    expect(command).toBe(`curl --unix-socket ${admin} http://localhost/api/stats`);
    write({ ...tokens(after ?? ''), logLevel: 'debug', maxConnections: 7 });
    run.child.kill('SIGHUP');
    await run.says('options reloaded');
    expect(run.stdout).toContain('"logLevel":"debug","needRestart":["maxConnections"]');
    expect(run.stdout).not.toContain('-token-');
    const peer = await Peer.connect(socketPath ?? '');
    peer.say('hello', { role: 'app', token: after });
    await peer.next('welcome');
    await peer.close();
    await run.says('connection closed');
    const line = run.stdout.split('\n').find((text) => text.includes('connection closed')) ?? '';
    expect(JSON.parse(line)).toMatchObject({ level: 20, role: 'app', connection: expect.any(String) });
    const late = await Peer.connect(socketPath ?? '');
    late.say('hello', { role: 'app', token: before });
    await late.closed;
    expect(late.errors).toEqual(['UNAUTHORIZED']);

    writeFileSync(config ?? '', `{"auth":{"tokens":{"app":[${after}]}}}`);
    run.child.kill('SIGHUP');
    await run.says('failed to reload options');
    expect(run.stdout).not.toContain('-token-');
    expect((await ask(admin ?? '', '/healthz')).status).toBe(200);
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
  });
});
