import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { Traffic } from '#src/traffic/traffic.js';
import { sharePlainBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import {
  cliScript,
  type EndedRun,
  inTerminal,
  packageRoot,
  shareSluice,
  sluice,
  sluiceInTerminal,
} from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import { missingTools, without } from '../../support/tools.js';

const shell = promisify(execFile);
const missing = missingTools('python3');
const SLUICE = `"${process.execPath}" "${join(packageRoot, 'dist/src/cli/main.js')}"`;

const run = shareSluice();

/** Starts a broker that is soon there. */
const serve = (...args: readonly string[]) => ['serve', '--workers', '1', '--patterns', 'off', ...args];

/** Removes all variables from which Node takes whether a terminal has colours, but for `TERM`. */
const WITHOUT_COLOUR_VARIABLES = [
  'env',
  ...['CI', 'FORCE_COLOR', 'NO_COLOR', 'NODE_DISABLE_COLORS', 'TEAMCITY_VERSION', 'TMUX'].flatMap((name) => [
    '-u',
    name,
  ]),
];

describe('sluice', () => {
  test('--help names the commands', async () => {
    const { code, stdout } = await run(['--help']);
    expect(code).toBe(0);
    for (const command of ['serve', 'pub', 'sub', 'demo']) expect(stdout).toContain(`  ${command}`);
  });

  test('--version is the package’s', async () => {
    const { code, stdout } = await run(['--version']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  function expectRejection(rejected: EndedRun, code: number, text: string): void {
    expect(rejected.code).toBe(code);
    expect(rejected.stderr).toContain(text);
    expect(rejected.stdout).toBe('');
    expect(rejected.stderr.trim().split('\n').length).toBeLessThanOrEqual(2);
  }

  test.each([
    [['serve', '--nonsense'], 64, "unknown option '--nonsense'"],
    [['pub', '/nowhere.ndjson'], 66, '/nowhere.ndjson'],
    [['serve', '--max-connections', 'many'], 78, '--max-connections: expected a number'],
    [['serve', '--heartbeat-interval', '0'], 78, '--heartbeat-interval: '],
    [['serve', '--workers', '0'], 78, '--workers: Too small'],
    [['serve', '--framing', 'xml'], 78, '--framing: expected one of auto, ndjson'],
    [['serve', '--config', '/nowhere.json'], 78, '/nowhere.json'],
    [['fly'], 64, "unknown command 'fly'"],
    [['sub', '--overflow', 'explode'], 64, '--overflow'],
    [['sub', '--last', '--group', 'g'], 64, "'--last' cannot be used with option '--group <name>'"],
    [['demo', '--crawlers', '0'], 64, 'Expected an integer, 1 or more.'],
    [['demo', '--duration', '2147484'], 64, 'Expected an integer from 1 to 2147483.'],
    [['sub', '--host', '127.0.0.1'], 64, '--host: needs --port'],
    [['pub', '--tls'], 64, '--tls: needs --port'],
    [['serve', '--host', '0.0.0.0', '--socket', '/tmp/x.sock'], 78, '--host: needs --port'],
    [['serve', '--socket', '/tmp/x.sock', '--port', '0'], 78, 'port: cannot be combined with socketPath'],
    [['sub', '--socket', '/nowhere.sock'], 69, '/nowhere.sock'],
    [['pub', '--socket', '/nowhere.sock'], 69, '/nowhere.sock'],
    [['pub', '/tmp'], 66, '/tmp is a directory'],
  ])('%j has exit code %i and says why', async (args, code, text) => {
    expectRejection(await run(args), code, text);
  });

  test('help with a mistyped command suggests the right one', async () => {
    const mistyped = await run(['help', 'serv']);
    expect(mistyped).toMatchObject({ code: 64, stdout: '' });
    expect(mistyped.stderr).toContain("unknown command 'serv'\n(Did you mean serve?)");
    expect((await run(['help', 'help'])).code).toBe(0);
  });

  test('a misspelt SLUICE_ variable is an error of every command', async () => {
    for (const args of [['status'], ['sub'], ['schemas']]) {
      expectRejection(
        await run(args, { SLUICE_ADMN: ':9464' }),
        78,
        'SLUICE_ADMN: unknown environment variable; did you mean SLUICE_ADMIN?',
      );
    }
  });

  test('a flag takes the place of an invalid variable, also of a port if it is a path', async () => {
    const env = { SLUICE_BACKLOG: 'deep', SOCKET_PORT: 'none', SLUICE_HOST: '' };
    const flags = ['--backlog', '5', '--socket', '/nowhere.sock'];
    const served = await run(['serve', '--print-config', ...flags], env);
    expect(JSON.parse(served.stdout)).toMatchObject({ backlog: 5, socketPath: '/nowhere.sock' });
    expect(served.stderr).toBe('');
    // A client does not even read the options of the broker.
    expectRejection(await run(['sub', '--socket', '/nowhere.sock'], env), 69, '/nowhere.sock');
  });

  test('ignores what Kubernetes sets for a service of the same name', async () => {
    const env = { SLUICE_PORT: 'tcp://10.0.0.11:80', SLUICE_SERVICE_HOST: '10.0.0.11' };
    const { code, stderr } = await run(['schemas'], env);
    expect(code).toBe(0);
    expect(stderr).toBe('sluice: SLUICE_PORT: ignored, because it is the address of a Kubernetes service\n');
  });

  test('an option that does not exist is named without its value, which may be a token', async () => {
    const { code, stderr } = await run(['pub', '--token=NotForYou1']);
    expect(code).toBe(64);
    expect(stderr).toContain("unknown option '--token'");
    expect(stderr).not.toContain('NotForYou1');
  });

  test('a bad environment is rejected by name, and --help still helps', async () => {
    const env = { SOCKET_BACKLOG: 'deep' };
    const rejected = await run(['serve'], env);
    expect(rejected.code).toBe(78);
    expect(rejected.stderr).toContain('SOCKET_BACKLOG: expected a number');
    expect((await run(['serve', '--help'], env)).code).toBe(0);
  });
});

describe('sluice serve', () => {
  test('logs in one JSON line where it listens; exits 0 on SIGTERM', async () => {
    const socketPath = join(temporaryFolder(), 'x.sock');
    const run = sluice(serve('--socket', socketPath));
    await run.says('\n');
    expect(JSON.parse(run.stdout)).toMatchObject({ level: 30, msg: 'listening', address: socketPath });
    const peer = await Peer.connect(socketPath);
    await peer.settled();
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
    expect(peer.errors).toEqual(['SHUTTING_DOWN']);
    await peer.closed;
    expect(
      run.stdout
        .trim()
        .split('\n')
        .map((text) => JSON.parse(text).msg),
    ).toEqual(['listening', 'stopping', 'stopped']);
    expect(run.stderr).toBe('');
  });

  test('logs the URL of its admin server; leaves at once on a second signal', async () => {
    const socketPath = join(temporaryFolder(), 'x.sock');
    const run = sluice(serve('--socket', socketPath, '--admin', '127.0.0.1:0'));
    await run.says('"msg":"listening"');
    const [url = ''] = /http:\/\/127\.0\.0\.1:\d+\//.exec(run.stdout) ?? [];
    expect((await fetch(url)).status).toBe(200);
    const [stuck, crawler] = [await Peer.connect(socketPath), await Peer.connect(socketPath)];
    await stuck.subscribe({ overflow: 'block' });
    stuck.socket.pause();
    crawler.write(line({ ...VALID.heartbeat, note: 'x'.repeat(8000) }).repeat(100));
    await crawler.settled();
    run.child.kill('SIGINT');
    await run.says('stopping');
    run.child.kill('SIGINT');
    // Draining would have ended with 0, when its time is over.
    expect(await run.exited).toBe(1);
    await Promise.all([stuck.close(), crawler.close()]);
  });

  test.skipIf(missing.length > 0)(
    `logs in colours in a terminal, ends with it, and leaves no socket behind${without(missing)}`,
    async () => {
      const socketPath = join(temporaryFolder(), 'x.sock');
      const broker = [process.execPath, cliScript(), ...serve('--socket', socketPath)];
      const run = inTerminal([...WITHOUT_COLOUR_VARIABLES, 'TERM=xterm-256color', ...broker]);
      await run.says('Ctrl-C stops the broker');
      expect(run.stdout).toContain('\u001b[');
      const pid = run.childPid();
      const app = await (await Peer.connect(socketPath)).subscribe();
      run.child.kill('SIGKILL');
      await app.closed;
      expect(app.errors).toEqual(['SHUTTING_DOWN']);
      await until(() => !existsSync(`/proc/${pid}`));
      expect(existsSync(socketPath)).toBe(false);
    },
  );

  test('--print-config shows flag over environment over file over default', async () => {
    const file = join(temporaryFolder(), 'config.json');
    writeFileSync(
      file,
      JSON.stringify({ backlog: 1, maxConnections: 1, heartbeatInterval: 1111, workers: { threads: 5 } }),
    );
    const printed = await run(['serve', '--config', file, '--backlog', '3', '--print-config'], {
      SOCKET_BACKLOG: '2',
      SOCKET_MAX_CONNECTIONS: '2',
    });
    expect(printed.code).toBe(0);
    expect(JSON.parse(printed.stdout)).toMatchObject({
      backlog: 3,
      maxConnections: 2,
      heartbeatInterval: 1111,
      heartbeatTimeout: 30_000,
      workers: { threads: 5 },
    });
  });

  test.each([
    [['--feed', '--backlog', '3'], true],
    [['--feed=false'], false],
    [['--feed', 'true'], true],
  ])('%j: a boolean flag needs no value', async (flags, feed) => {
    const printed = await run(['serve', '--print-config', ...flags], { SLUICE_FEED: String(!feed) });
    expect(JSON.parse(printed.stdout)).toMatchObject({ feed });
  });

  test('--print-config prints a file that --config reads, without tokens', async () => {
    const folder = temporaryFolder();
    const [first, second] = [join(folder, 'first.json'), join(folder, 'second.json')];
    const token = 'a-token-of-an-application';
    const options = { maxMessageSize: '64k', drainTimeout: '1.5s', auth: { tokens: { app: [token] } } };
    writeFileSync(first, `\ufeff${JSON.stringify(options)}`, { mode: 0o600 });
    const args = ['serve', '--schemas', './m.mjs', '--admin', './a.sock', '--print-config'];
    const printed = await run([...args, '--config', first]);
    expect(JSON.parse(printed.stdout)).toMatchObject({
      maxMessageSize: 65_536,
      drainTimeout: 1500,
      auth: {},
    });
    expect(printed.stderr).toBe('sluice: the tokens are not printed: 1 of role app\n');
    expect(printed.stdout).not.toContain('token');
    writeFileSync(second, printed.stdout);
    const again = await run(['serve', '--config', second, '--print-config']);
    expect(again.stderr).toBe('');
    expect(JSON.parse(again.stdout)).toEqual(JSON.parse(printed.stdout));
  });

  test.skipIf(missing.length > 0)(
    `uses no colours if NO_COLOR or TERM=dumb says so${without(missing)}`,
    async () => {
      for (const [variables, isColoured] of [
        [['TERM=xterm-256color', 'NO_COLOR=1'], false],
        [['TERM=dumb'], false],
        [['TERM=dumb', 'FORCE_COLOR=1'], true],
      ] as const) {
        const folder = temporaryFolder();
        const [socketPath, admin] = [join(folder, 'x.sock'), join(folder, 'admin.sock')];
        // A broker that ends by itself after the first line of its log.
        const args = serve('--socket', socketPath, '--admin', admin, '--schemas', '/nowhere.mjs');
        const broker = [process.execPath, cliScript(), ...args];
        const terminal = inTerminal([...WITHOUT_COLOUR_VARIABLES, ...variables, ...broker]);
        expect(await terminal.exited).toBe(78);
        expect(terminal.stdout).toContain('admin server is up');
        expect(terminal.stdout.includes('\u001b['), variables.join(' ')).toBe(isColoured);
      }
    },
  );
});

describe('sluice schemas', () => {
  test('lists each type, whether it has a pattern, and why not', async () => {
    const listed = await run(['schemas', '--schemas', join(packageRoot, 'test/support/custom-schemas.mjs')]);
    expect(listed.code).toBe(0);
    expect(listed.stdout).toMatch(/^job_progress +crawler +compiled$/m);
    expect(listed.stdout).toMatch(/^job_assignment +app +none +always parsed/m);
    expect(listed.stdout).toMatch(/^welcome +broker +none +sent only by the broker$/m);
    expect(listed.stdout).toMatch(/^page_fetched +crawler +none +its rule is a function$/m);
  });

  test('prints all messages that peers send as one JSON Schema', async () => {
    const schemas = join(packageRoot, 'test/support/custom-schemas.mjs');
    const { code, stdout } = await run(['schemas', '--json', '--schemas', schemas]);
    expect(code).toBe(0);
    const { $defs, oneOf } = JSON.parse(stdout) as { $defs: Record<string, object>; oneOf: object[] };
    expect(Object.keys($defs)).toEqual(
      expect.arrayContaining(['heartbeat', 'job_assignment', 'page_fetched']),
    );
    expect(Object.keys($defs)).not.toContain('welcome');
    expect(oneOf).toContainEqual({ $ref: '#/$defs/page_fetched' });
  });
});

describe('sluice pub and sub', () => {
  const sharedBroker = sharePlainBroker();
  const strictBroker = sharePlainBroker({
    maxMessagesPerSecond: 3,
    auth: { tokens: { app: ['a-token-of-an-application'] } },
  });

  test('carry a file through, byte for byte', async () => {
    const { socketPath, manager } = sharedBroker();
    const file = join(temporaryFolder(), 'traffic.ndjson');
    // More than is read, sent or written at a time.
    const bytes = new Traffic({ seed: 4 }).block(3000);
    writeFileSync(file, bytes);
    const sub = sluice(['sub', '--socket', socketPath, '--overflow', 'block']);
    await until(() => manager.getMetrics().protocol.subscriptions === 1);
    const pub = await run(['pub', '--socket', socketPath, file]);
    expect(pub.code).toBe(0);
    const text = bytes.toString();
    await until(() => sub.stdout.length >= text.length);
    sub.child.kill('SIGINT');
    expect(await sub.exited).toBe(0);
    expect(sub.stdout).toBe(text);
    expect(sub.stderr + pub.stderr).toBe('');
  });

  test('pub reports rejected lines with their numbers, and exits 1', async () => {
    const { socketPath } = sharedBroker();
    const input = `${line(VALID.heartbeat)}\nnot json\n${line({ type: 'heartbeat', timestamp: 'CANARY' })}`;
    const pub = await run(['pub', '--socket', socketPath], {}, input);
    expect(pub.code).toBe(1);
    expect(pub.stderr).toContain('line 3: INVALID_JSON');
    expect(pub.stderr).toContain(
      'line 4: SCHEMA_VIOLATION [heartbeat]: timestamp expected datetime; data expected object',
    );
    expect(pub.stderr).not.toContain('CANARY');
  });

  test.skipIf(missing.length > 0)(
    `sub in a terminal shows what it receives, and escapes control and format characters${without(missing)}`,
    async () => {
      const { socketPath, connect } = sharedBroker();
      const sub = sluiceInTerminal(['sub', '--socket', socketPath]);
      await sub.says(`receiving all messages, from ${socketPath}; Ctrl-C ends`);
      const crawler = await connect();
      crawler.write(line({ ...VALID.heartbeat, note: '<\u009b2J\u202e\u007f>' }));
      await sub.says('<\\u009b2J\\u202e\\u007f>');
      sub.child.kill('SIGTERM');
    },
  );

  test('pub ends with an error when the broker goes away, also while its input has nothing', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const idle = sluice(['pub', '--socket', socketPath]);
    idle.child.stdin.write(line(VALID.heartbeat));
    await until(() => manager.getMetrics().protocol.accepted.heartbeat === 1);
    const busy = sluice(['pub', '--socket', socketPath]);
    busy.child.stdin.write(line(VALID.heartbeat));
    await until(() => manager.getConnectionPool().size === 2);
    await manager.stop();
    busy.child.stdin.end(line(VALID.heartbeat));
    for (const pub of [busy, idle]) {
      expect(await pub.exited).toBe(1);
      expect(pub.stderr).toContain('shutting down');
    }
  });

  test('pub sends messages with nothing between them in blocks, and reports lines as the input has them', async () => {
    const { socketPath, connect } = sharedBroker();
    const app = await (await connect()).subscribe();
    const pub = sluice(['pub', '--socket', socketPath]);
    const message = JSON.stringify(VALID.heartbeat);
    const count = Math.ceil(600_000 / message.length);
    pub.child.stdin.write(message.repeat(count));
    // There is no newline yet, and much has come already.
    await app.count(1 + Math.ceil(count / 2));
    pub.child.stdin.end(`\nnot json\n${message.repeat(count)}\n\nnot json, too`);
    expect(await pub.exited).toBe(1);
    expect(pub.stderr).toMatch(
      /^line 2: INVALID_JSON.*\nline 5: INVALID_JSON.*\nsent 5 lines, 1\.2 MB, 2 error replies\n$/,
    );
    await app.count(1 + count * 2);
  });

  test('pub reports that there may be more when the broker has sent its maximum number of errors', async () => {
    const { socketPath } = sharedBroker();
    const pub = await run(['pub', '--socket', socketPath], {}, 'not json\n'.repeat(100));
    expect(pub.code).toBe(1);
    expect(pub.stderr).toMatch(
      /^sent 100 lines, 900 B, 1\d error replies; more may have been rejected .* sluice check/m,
    );
  });

  test('pub reports so, too, when the broker sends no errors at all', async () => {
    const { socketPath } = await startPlainBroker({ maxErrorReplies: 0 });
    const pub = await run(['pub', '--socket', socketPath], {}, 'not json\n');
    expect([pub.code, pub.stderr]).toEqual([
      1,
      expect.stringMatching(/^sent 1 line, .*; more may have been/),
    ]);
  });

  test('pub reports so, too, when the broker has a limit, and one answer stands for many messages', async () => {
    const { socketPath } = strictBroker();
    const pub = await run(['pub', '--socket', socketPath], {}, line(VALID.heartbeat).repeat(5));
    expect(pub.code).toBe(1);
    expect(pub.stderr).toMatch(/^RATE_LIMITED: /);
    expect(pub.stderr).toMatch(/^sent 5 lines, .*; more may have been rejected/m);
  });

  test('sub ends when the broker rejects its subscription, and reports why once', async () => {
    const { socketPath } = strictBroker();
    const sub = await run(['sub', '--socket', socketPath, '--role', 'crawler']);
    expect(sub.code).toBe(1);
    expect(sub.stderr).toMatch(/^sluice: UNAUTHORIZED: .*\n$/);
  });

  test('sub filters by type and job, wraps with --meta, and ends with an error when the broker goes away', async () => {
    const { socketPath, manager, connect } = await startPlainBroker();
    const filter = ['--types', 'job_*, heartbeat', '--job', 'job-1'];
    const ended = run(['sub', '--socket', socketPath, ...filter, '--meta']);
    await until(() => manager.getMetrics().protocol.subscriptions === 1);
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    crawler.write(
      line({ ...VALID.job_started, jobId: 'job-2' }) + line(VALID.heartbeat) + line(VALID.job_started),
    );
    await crawler.settled();
    await manager.stop();
    const sub = await ended;
    expect(sub.code).toBe(1);
    expect(sub.stderr).toContain('the broker closed the connection');
    expect(JSON.parse(sub.stdout)).toMatchObject({
      crawlerId: 'crawler-1',
      seq: 4,
      message: VALID.job_started,
    });
  });

  test('sub works in a pipe: head ends it quietly', async () => {
    const { socketPath, manager, connect } = sharedBroker();
    let isOver = false;
    const piped = shell('bash', [
      '-c',
      `set -o pipefail; ${SLUICE} sub --socket ${socketPath} | head -n 2`,
    ]).finally(() => {
      isOver = true;
    });
    await until(() => (manager.getMetrics().protocol.subscriptions ?? 0) === 1);
    const text = line(VALID.heartbeat).repeat(200);
    expect((await run(['pub', '--socket', socketPath], {}, text)).code).toBe(0);
    const crawler = await connect();
    while (!isOver) {
      crawler.write(text);
      await crawler.settled();
    }
    const { stdout, stderr } = await piped;
    expect(stdout).toBe(line(VALID.heartbeat).repeat(2));
    expect(stderr).toBe('');
  });
});
