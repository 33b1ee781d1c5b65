import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { Worker } from 'node:worker_threads';
import {
  DEFAULT_SOCKET_PATH,
  type ResolvedOptions,
  resolveOptions,
  type SluiceError,
  type SluiceOptions,
  SOCKET_CONFIG,
  SocketManager,
} from 'sluice';
import { describe, expect, expectTypeOf, onTestFinished, test, vi } from 'vitest';
import { OPTION_GROUPS, optionsSchema } from '#src/config/config.js';
import {
  mergeOptions,
  OPTION_SPECS,
  optionsFromEnvironment,
  optionsFromFile,
  unknownVariables,
} from '#src/config/sources.js';
import { temporaryFolder } from '../../support/broker.js';
import { packageRoot } from '../../support/cli.js';

describe('resolveOptions', () => {
  test('fills in the defaults, and freezes', () => {
    const options = resolveOptions({});
    expect(options).toMatchObject({
      socketPath: DEFAULT_SOCKET_PATH,
      maxConnections: 1024,
      maxMessageSize: 1024 * 1024,
      messageDelimiter: '\n',
      framing: 'auto',
      heartbeatInterval: 5000,
      heartbeatTimeout: 30_000,
      workers: { concurrentTasksPerWorker: 2 },
    });
    expect(Object.isFrozen(options) && Object.isFrozen(options.workers)).toBe(true);
  });

  test('takes its own result', () => {
    expect(resolveOptions(SOCKET_CONFIG)).toEqual(SOCKET_CONFIG);
  });

  test('a port in place of a path is TCP', () => {
    expect(resolveOptions({ port: 0 })).toMatchObject({ host: '127.0.0.1', port: 0 });
    expect(resolveOptions({ port: 0 }).socketPath).toBeUndefined();
    expect(resolveOptions({ ...SOCKET_CONFIG, socketPath: undefined, port: 7 }).socketPath).toBeUndefined();
  });

  test.each([
    [
      { socketPath: '/s', port: 7 },
      /^Invalid option: port: cannot be combined with socketPath; set one of them to undefined$/,
    ],
    [{ maxConnections: 0 }, /^Invalid option: maxConnections: /],
    [{ maxConnections: 'many' }, /maxConnections: /],
    [{ framing: 'xml' }, /framing: /],
    [{ workers: { threads: 0 } }, /workers\.threads: /],
    [{ workers: { cores: 4 } }, /workers\.cores: unknown option/],
    [{ maxConnection: 5 }, /maxConnection: unknown option/],
    [{ socketPath: 'x'.repeat(108) }, /socketPath: must be at most 107 bytes/],
    [{ messageDelimiter: 'ab' }, /messageDelimiter: must be one control character/],
    [{ socketMode: '999' }, /socketMode: must be an octal mode/],
    [
      { heartbeatTimeout: 10, heartbeatInterval: 10 },
      /heartbeatTimeout: must be longer than heartbeatInterval/,
    ],
    [{ heartbeatInterval: 2 ** 31 }, /heartbeatInterval: /],
    [{ max_conections: 5 }, /max_conections: unknown option; did you mean maxConnections\?/],
    [{ threads: 5 }, /threads: unknown option; did you mean workers\.threads\?/],
    [{ workers: { thread: 5 } }, /workers\.thread: unknown option; did you mean workers\.threads\?/],
    [{ nonsense: 5 }, /nonsense: unknown option$/],
  ])('rejects %j in one line that names it', (options, message) => {
    expect(() => resolveOptions(options as SluiceOptions)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringMatching(message) }),
    );
    expect(() => resolveOptions(options as SluiceOptions)).toThrow(/^[^\n]*$/);
  });

  test('is typed', () => {
    expectTypeOf(resolveOptions).parameter(0).toExtend<{ maxConnections?: number | undefined }>();
    expectTypeOf(SOCKET_CONFIG.maxConnections).toEqualTypeOf<number>();
    expectTypeOf(SOCKET_CONFIG.framing).toEqualTypeOf<'auto' | 'ndjson'>();
  });
});

describe('sizes and times', () => {
  test.each([
    ['65536', 65_536],
    ['64k', 65_536],
    ['64K', 65_536],
    ['64kB', 65_536],
    ['64KiB', 65_536],
    ['65536B', 65_536],
    ['1.5M', 1_572_864],
    [' 2 mib ', 2_097_152],
    ['0.25g', 268_435_456],
  ])('maxMessageSize %j is %i bytes in every source', (text, bytes) => {
    expect(resolveOptions({ maxMessageSize: text as '1k' }).maxMessageSize).toBe(bytes);
    expect(optionsFromEnvironment({ SLUICE_MAX_MESSAGE_SIZE: text })).toEqual({ maxMessageSize: bytes });
  });

  test.each([
    ['1500', 1500],
    ['500ms', 500],
    ['10s', 10_000],
    ['1.1s', 1100],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
  ])('drainTimeout %j is %i ms', (text, ms) => {
    expect(resolveOptions({ drainTimeout: text as '1s' }).drainTimeout).toBe(ms);
  });

  test.each(['10x', '1.5.2', '64 k k', 'k', '', ' ', '1e', 'Infinity', 'NaN', '10s', '1kiB2', '64kk'])(
    'maxMessageSize %j is rejected',
    (text) => {
      const options = { maxMessageSize: text as '1k' };
      expect(() => resolveOptions(options)).toThrow(
        'maxMessageSize: expected a size in bytes, or with a unit',
      );
    },
  );

  test.each([
    ['-64k', /Too small/],
    ['-1', /Too small/],
    ['1k', undefined],
    ['1G', /Too big: .*268435456/],
    ['99999999999999999999G', /Too big|whole/],
    ['100.5B', /must be a whole number/],
  ])('maxMessageSize %j is compared with the limits', (text, message) => {
    const resolve = () => resolveOptions({ maxMessageSize: text as '1k' });
    if (message === undefined) expect(resolve().maxMessageSize).toBe(1024);
    else expect(resolve).toThrow(message);
  });

  test.each(['10x', '2M', '1 hour', '10k'])('drainTimeout %j is rejected', (text) => {
    const options = { drainTimeout: text as '1s' };
    expect(() => resolveOptions(options)).toThrow('drainTimeout: expected a time in ms, or with a unit');
    expect(() => resolveOptions({ drainTimeout: '25d' })).toThrow('Too big');
  });
});

describe('relative paths', () => {
  test('are relative to the folder in which the options are resolved', () => {
    const paths = {
      socketPath: 's.sock',
      auth: { file: '../t.json' },
      schemas: './m.mjs',
      admin: './a.sock',
    };
    expect(resolveOptions(paths, '/srv/app')).toMatchObject({
      socketPath: '/srv/app/s.sock',
      auth: { file: '/srv/t.json' },
      schemas: '/srv/app/m.mjs',
      admin: '/srv/app/a.sock',
    });
    expect(resolveOptions(paths).socketPath).toBe(join(process.cwd(), 's.sock'));
  });

  test('leave alone what is absolute, a URL or an address', () => {
    const options = { socketPath: '/run/s.sock', schemas: 'file:///m.mjs', admin: '127.0.0.1:9464' };
    expect(resolveOptions(options, '/srv')).toMatchObject(options);
    const url = new URL('file:///m.mjs');
    expect(resolveOptions({ schemas: url }, '/srv').schemas).toEqual(url);
  });

  test('stay relative if the absolute path of a socket is too long for the kernel', () => {
    expect(resolveOptions({ socketPath: 's.sock' }, `/${'x'.repeat(107)}`).socketPath).toBe('s.sock');
  });
});

/** What a program that prints SOCKET_CONFIG does: in a thread, which starts sooner than a process. */
async function printedWith(env: NodeJS.ProcessEnv): Promise<{ stdout: string; stderr: string }> {
  const program = `import('sluice').then(({ SOCKET_CONFIG }) => console.log(JSON.stringify(SOCKET_CONFIG)));`;
  const thread = new Worker(program, {
    eval: true,
    env: { ...process.env, ...env },
    execArgv: [],
    stdout: true,
    stderr: true,
  });
  const [stdout, stderr, [exitCode]] = await Promise.all([
    text(thread.stdout),
    text(thread.stderr),
    once(thread, 'exit'),
  ]);
  expect(exitCode).toBe(0);
  return { stdout, stderr };
}

let configs = 0;

/** SOCKET_CONFIG with these environment variables, which are set until the end of the test. */
async function socketConfigWith(env: Readonly<Record<string, string>>): Promise<ResolvedOptions> {
  onTestFinished(() => void vi.unstubAllEnvs());
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  // Each query evaluates the module anew.
  const module = pathToFileURL(join(packageRoot, 'dist/src/config/socket-config.js'));
  configs++;
  const { SOCKET_CONFIG: config } = await import(`${module}?config=${configs}`);
  return config;
}

/** The options of a server, or the error of its constructor. */
function serverOptions(options: SluiceOptions): unknown {
  try {
    return new SocketManager(options).options;
  } catch (error) {
    const { code, message } = error as SluiceError;
    return `${code} ${message}`;
  }
}

describe('SOCKET_CONFIG', () => {
  test('has the values of the environment', async () => {
    const env = { SLUICE_PORT: '7', SLUICE_MAX_MESSAGE_SIZE: '64k', SOCKET_BACKLOG: '9' };
    const { stdout, stderr } = await printedWith(env);
    expect(JSON.parse(stdout)).toMatchObject({
      port: 7,
      maxMessageSize: 65_536,
      backlog: 9,
      maxConnections: 1024,
    });
    expect(JSON.parse(stdout).socketPath).toBeUndefined();
    expect(stderr).toBe('');
  });

  test('of an invalid environment can be imported, but not used, unless the option is given', async () => {
    const env = { SLUICE_BACKLOG: 'deep', SLUICE_WORKERS_THREADS: '0', SLUICE_MAX_CONECTIONS: '4' };
    const config = await socketConfigWith(env);
    expect([
      serverOptions(config),
      serverOptions({ ...config, backlog: 5 }),
      serverOptions({ ...config, backlog: 5, workers: { threads: 1 } }),
      serverOptions({}),
    ]).toEqual([
      expect.stringMatching(/^INVALID_OPTION .*SLUICE_/),
      expect.stringMatching(/^INVALID_OPTION .*SLUICE_/),
      'INVALID_OPTION Invalid option: SLUICE_MAX_CONECTIONS: unknown environment variable; did you mean SLUICE_MAX_CONNECTIONS?',
      expect.objectContaining({ backlog: 511 }),
    ]);
  });

  test('with both a port and a path can be imported, but not used', async () => {
    const config = await socketConfigWith({ SLUICE_PORT: '7', SOCKET_PATH: '/s' });
    expect(serverOptions(config)).toContain('port: cannot be combined with socketPath');
  });

  test('of times that contradict each other can be imported, and used with another time', async () => {
    const config = await socketConfigWith({ SLUICE_HEARTBEAT_TIMEOUT: '5ms' });
    expect(serverOptions(config)).toContain('heartbeat');
    expect(serverOptions({ ...config, heartbeatInterval: 4 })).toMatchObject({ heartbeatTimeout: 5 });
  });

  test('ignores what Kubernetes sets, with a warning', async () => {
    const { stdout, stderr } = await printedWith({ SOCKET_PORT: 'tcp://10.0.0.11:80' });
    expect(JSON.parse(stdout).socketPath).toBe(DEFAULT_SOCKET_PATH);
    expect(JSON.parse(stdout).port).toBeUndefined();
    expect(stderr).toContain('SOCKET_PORT: ignored, because it is the address of a Kubernetes service');
  });
});

test('a token in the wrong place is not quoted', () => {
  const misplaced = [
    { tokens: { NotForYou1: ['x'] } },
    { NotForYou1: 'x' },
    { tokens: { app: 'NotForYou1' } },
  ];
  for (const auth of misplaced) {
    let message = '';
    try {
      resolveOptions({ auth } as SluiceOptions);
    } catch (error) {
      message = String(error);
    }
    expect(message).toMatch(/: auth/);
    expect(message).not.toContain('NotForYou1');
  }
});

describe('the environment', () => {
  test('sets options by their SLUICE_ names, which win over the older ones', () => {
    expect(optionsFromEnvironment({ SLUICE_MAX_CONNECTIONS: '7', SOCKET_MAX_CONNECTIONS: 'many' })).toEqual({
      maxConnections: 7,
    });
    expect(optionsFromEnvironment({ SLUICE_BACKLOG: '', SOCKET_BACKLOG: '5' })).toEqual({ backlog: 5 });
    for (const name of ['SLUICE_SOCKET_PATH', 'SLUICE_PATH', 'SOCKET_PATH']) {
      expect(optionsFromEnvironment({ [name]: '/s' })).toEqual({ socketPath: '/s' });
    }
  });

  test('is read only for the options asked for', () => {
    const port = OPTION_SPECS.filter(({ name }) => name === 'port');
    expect(optionsFromEnvironment({ SLUICE_PORT: '7', SLUICE_BACKLOG: 'deep' }, port)).toEqual({ port: 7 });
  });

  const service = (name: string) => ({
    [`${name}_PORT`]: 'tcp://10.0.0.11:80',
    [`${name}_SERVICE_HOST`]: '10.0.0.11',
    [`${name}_SERVICE_PORT`]: '80',
    [`${name}_SERVICE_PORT_HTTP`]: '80',
    [`${name}_PORT_80_TCP`]: 'tcp://10.0.0.11:80',
    [`${name}_PORT_80_TCP_PROTO`]: 'tcp',
    [`${name}_PORT_80_TCP_PORT`]: '80',
    [`${name}_PORT_80_TCP_ADDR`]: '10.0.0.11',
    [`${name}_ADMIN_PORT`]: 'udp://10.0.0.11:80',
  });

  test.each(['SOCKET', 'SLUICE'])('of a Kubernetes service %s is ignored with one warning', (name) => {
    const warnings: string[] = [];
    expect(optionsFromEnvironment(service(name), undefined, (text) => warnings.push(text))).toEqual({});
    expect(warnings).toEqual([`${name}_PORT: ignored, because it is the address of a Kubernetes service`]);
    expect([...unknownVariables(service(name))]).toEqual([]);
  });

  test('that sets both a service and a port uses the port', () => {
    const environment = { ...service('SLUICE'), SOCKET_PORT: '7' };
    expect(optionsFromEnvironment(environment)).toEqual({ port: 7 });
  });

  test.each([
    ['SLUICE_MAX_CONECTIONS', 'SLUICE_MAX_CONNECTIONS'],
    ['SLUICE_WORKERS', 'SLUICE_WORKERS_THREADS'],
    ['SLUICE_SOCKET', 'SLUICE_SOCKET_PATH'],
    ['SLUICE_TOKENS', 'SLUICE_TOKEN'],
    ['SLUICE_ADMIN_PORT', undefined],
    ['SLUICE_X', undefined],
  ])('with the unknown %s is rejected; it may be %s', (name, suggestion) => {
    const [message] = [...unknownVariables({ [name]: '5' }).values()].map((error) => error.message);
    const hint = suggestion === undefined ? '' : `; did you mean ${suggestion}?`;
    expect(message).toBe(`Invalid option: ${name}: unknown environment variable${hint}`);
  });

  test('may have variables of the commands, empty ones and those of others', () => {
    const environment = {
      SLUICE_TOKEN: 'a',
      SLUICE_CRAWLER_TOKEN: 'b',
      SLUICE_NONSENSE: '',
      SOCKET_NONSENSE: 'c',
    };
    expect([...unknownVariables(environment)]).toEqual([]);
  });

  test('sets options by their SOCKET_ names', () => {
    const options = optionsFromEnvironment({
      SOCKET_PATH: '/run/x.sock',
      SOCKET_MAX_CONNECTIONS: '7',
      SOCKET_ENABLE_METRICS: 'false',
      SOCKET_WORKERS_THREADS: '3',
      SOCKET_MODE: '0660',
      SOCKET_LOG_LEVEL: '',
    });
    expect(options).toEqual({
      socketPath: '/run/x.sock',
      maxConnections: 7,
      enableMetrics: false,
      workers: { threads: 3 },
      socketMode: '0660',
    });
  });

  test.each([
    ['SOCKET_MAX_CONNECTIONS', 'many', 'expected a number'],
    ['SOCKET_MAX_CONNECTIONS', ' ', 'expected a number'],
    ['SOCKET_ENABLE_METRICS', 'maybe', 'expected true or false'],
    ['SOCKET_FRAMING', 'xml', 'expected one of auto, ndjson'],
    ['SLUICE_BACKLOG', '0', 'Too small'],
    ['SLUICE_DRAIN_TIMEOUT', '10x', 'expected a time'],
    ['SLUICE_AUTH_TOKENS_APP', 'short', 'Too small'],
  ])('%s=%j is rejected by name', (name, value, detail) => {
    expect(() => optionsFromEnvironment({ [name]: value })).toThrow(`${name}: ${detail}`);
  });

  test('names every option once, and describes it', () => {
    for (const key of ['environment', 'flag', 'name'] as const) {
      expect(new Set(OPTION_SPECS.map((spec) => spec[key])).size).toBe(OPTION_SPECS.length);
    }
    expect(OPTION_SPECS.filter(({ description }) => description === '')).toEqual([]);
  });
});

test('every option belongs to one group, and options have the order of the groups', () => {
  expect(Object.values(OPTION_GROUPS).flat()).toEqual(Object.keys(optionsSchema.shape));
  for (const { name, group } of OPTION_SPECS) {
    expect(OPTION_GROUPS[group], name).toContain(name.split('.')[0]);
  }
});

test('the specifications have the choices and kinds of the schema', () => {
  const specs = Object.fromEntries(OPTION_SPECS.map((spec) => [spec.name, spec]));
  expect(specs.patterns).toMatchObject({ kind: 'string', choices: ['on', 'off', 'verify'] });
  expect(specs.host).toMatchObject({ kind: 'string', choices: undefined });
  const namesOf = (kind: string) => OPTION_SPECS.filter((spec) => spec.kind === kind).map(({ name }) => name);
  const fleet = ['fleetCredentials', 'fleetCa', 'fleetCert', 'fleetKey'];
  const tls = ['tlsCert', 'tlsKey', 'tlsClientCa'];
  expect(namesOf('path')).toEqual(['socketPath', ...tls, 'auth.file', 'log', ...fleet, 'schemas']);
  expect(namesOf('boolean')).toEqual(['fleetInsecure', 'feed', 'adminAllowRemote', 'enableMetrics']);
});

describe('a file', () => {
  const write = (text: string) => {
    const path = join(temporaryFolder(), 'config.json');
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };

  test('holds options as JSON', () => {
    expect(optionsFromFile(write('{"port":9}'))).toEqual({ port: 9 });
  });

  test('may have a byte order mark', () => {
    expect(optionsFromFile(write('\ufeff{"port":9}'))).toEqual({ port: 9 });
  });

  test.each([
    ['\ufeff{}', 'utf16le', 'is encoded in UTF-16; save it in UTF-8'],
    ['\ufffe{}', 'utf16le', 'is encoded in UTF-16; save it in UTF-8'],
    ['{"host":"\xff"}', 'latin1', 'is not encoded in UTF-8'],
  ] as const)('in another encoding is rejected (%j in %s)', (text, encoding, message) => {
    const path = write('');
    writeFileSync(path, Buffer.from(text, encoding));
    expect(() => optionsFromFile(path)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_UNREADABLE',
        message: expect.stringContaining(`${path}: ${message}`),
      }),
    );
  });

  test.each(['{', '[]', '5'])('with %s is rejected by path', (text) => {
    const path = write(text);
    expect(() => optionsFromFile(path)).toThrow(
      expect.objectContaining({ code: 'CONFIG_UNREADABLE', message: expect.stringContaining(path) }),
    );
  });

  test('with an error in it is rejected without a word of its text', () => {
    for (const text of [
      '{"auth":{"tokens":{"app":["glpat-secret"]}}',
      '{"app":glpat-secret}',
      'glpat-secret',
    ]) {
      const path = write(text);
      const rejected = () => optionsFromFile(path);
      expect(rejected).toThrow(`${path}: not JSON`);
      try {
        rejected();
      } catch (error) {
        expect(inspect(error)).not.toContain('glpat');
      }
    }
  });

  test('with tokens in it is rejected where others than its owner may read it', () => {
    const path = write('{"auth":{"tokens":{"app":["a-token-of-an-application"]}}}');
    for (const mode of [0o644, 0o640, 0o606]) {
      chmodSync(path, mode);
      expect(() => optionsFromFile(path)).toThrow(
        expect.objectContaining({
          code: 'CONFIG_UNREADABLE',
          message: expect.stringMatching(/chmod 600 it$/),
        }),
      );
    }
    chmodSync(path, 0o600);
    expect(optionsFromFile(path).auth?.tokens?.app).toHaveLength(1);
  });

  test('that is not there is rejected', () => {
    expect(() => optionsFromFile('/nowhere.json')).toThrow(
      expect.objectContaining({ code: 'CONFIG_UNREADABLE' }),
    );
  });
});

describe('mergeOptions', () => {
  test('the later source wins, option by option', () => {
    const merged = mergeOptions(
      { maxConnections: 1, backlog: 1, workers: { threads: 1 } },
      { maxConnections: 2, workers: { maxBatchBytes: 5 } },
    );
    expect(merged).toEqual({ maxConnections: 2, backlog: 1, workers: { threads: 1, maxBatchBytes: 5 } });
  });

  test('the later one of path and port wins', () => {
    expect(mergeOptions({ socketPath: 'a' }, { port: 1 })).toEqual({ port: 1 });
    expect(mergeOptions({ port: 1 }, { socketPath: 'a' })).toEqual({ socketPath: 'a' });
  });

  test('both from one source are rejected', () => {
    expect(() => mergeOptions({}, { port: 1, socketPath: 'a' })).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTION',
        message: expect.stringContaining('port: cannot be combined'),
      }),
    );
  });
});
