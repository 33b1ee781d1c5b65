import { DEFAULT_SOCKET_PATH } from 'sluice';
import socketModule, {
  configManager,
  SOCKET_CONFIG,
  SocketServer,
  type SocketServerConfig,
  validateCurrentConfig,
} from 'sluice/drop-in';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { resolveConfig } from '#src/drop-in/config.js';
import { evaluate } from '../../support/cli.js';

/** Every option of the replaced server, with a value that it would have accepted. */
const ALL = {
  socketPath: '/tmp/a.sock',
  host: 'localhost',
  port: 8080,
  backlog: 511,
  allowedOrigins: ['http://localhost:5173'],
  maxConnections: 3,
  connectionTimeout: 120_000,
  messageBufferSize: 1024,
  maxMessageSize: 1024,
  messageDelimiter: '\n',
  messageTimeout: 5000,
  bufferSize: 1024,
  heartbeatInterval: 2000,
  heartbeatTimeout: 90_000,
  healthCheckInterval: 60_000,
  maxConcurrentJobs: 5,
  jobQueueSize: 100,
  jobTimeout: 3_600_000,
  retryAttempts: 3,
  retryDelay: 5000,
  logLevel: 'debug',
  enableMetrics: true,
  metricsInterval: 60_000,
  databaseConnectionPool: 10,
  queryTimeout: 30_000,
  transactionTimeout: 60_000,
  cleanupInterval: 3_600_000,
  maxJobAge: 7 * 24 * 3_600_000,
  maxErrorLogAge: 30 * 24 * 3_600_000,
} as const satisfies Record<string, unknown>;

describe('a configuration', () => {
  test('may have every option of the replaced server; those without effect are named once', () => {
    expect(Object.keys(ALL)).toHaveLength(29);
    const { config, options, warnings } = resolveConfig({ ...ALL, allowedOrigins: [...ALL.allowedOrigins] });
    expect(config).toEqual(ALL);
    expect(options).toMatchObject({ maxConnections: 3, maxMessageSize: 1024, messageBufferSize: 16 * 1024 });
    expect(warnings).toEqual([
      'options without effect: allowedOrigins, messageTimeout, bufferSize, maxConcurrentJobs, jobQueueSize, jobTimeout, retryAttempts, retryDelay, databaseConnectionPool, queryTimeout, transactionTimeout, maxJobAge, maxErrorLogAge',
    ]);
  });

  test('has the defaults of the replaced server', () => {
    const { options, config, warnings } = resolveConfig({});
    const expected = {
      socketPath: DEFAULT_SOCKET_PATH,
      maxConnections: 10,
      connectionTimeout: 30_000,
      heartbeatInterval: 30_000,
      heartbeatTimeout: 90_000,
    };
    expect(options).toMatchObject(expected);
    expect(config).toMatchObject(expected);
    expect(warnings).toEqual([]);
    expect(SOCKET_CONFIG).toEqual(config);
    expect(socketModule.config).toBe(SOCKET_CONFIG);
  });

  test.each([
    [{ heartbeatInterval: 60_000 }, 60_000, 90_000],
    [{ heartbeatInterval: 90_000 }, 90_000, 270_000],
    [{ heartbeatInterval: 2_000_000_000 }, 2_000_000_000, 2_147_483_647],
    // Below the interval at which crawlers send heartbeats, they would be idle most of the time.
    [{ heartbeatInterval: 2000 }, 5000, 90_000],
    [{ heartbeatInterval: 1000, heartbeatTimeout: 3000 }, 5000, 15_000],
    [{ ...SOCKET_CONFIG, heartbeatInterval: 120_000 }, 120_000, 360_000],
  ])('with %o has a timeout that is longer than the interval', (given, interval, timeout) => {
    const { options } = resolveConfig(given);
    expect([options.heartbeatInterval, options.heartbeatTimeout]).toEqual([interval, timeout]);
  });

  test('says so if a heartbeatTimeout that was set is raised', () => {
    const { warnings, config } = resolveConfig({ heartbeatInterval: 60_000, heartbeatTimeout: 60_000 });
    expect(warnings).toEqual(['heartbeatTimeout: raised to 180000, above heartbeatInterval']);
    expect(config).toMatchObject({ heartbeatInterval: 60_000, heartbeatTimeout: 180_000 });
  });

  test('uses the path if it has a path and a port; undefined is as if left out', () => {
    expect(resolveConfig({ socketPath: '/tmp/a.sock', port: 7 }).options).toMatchObject({
      socketPath: '/tmp/a.sock',
    });
    expect(resolveConfig({ socketPath: '/tmp/a.sock', port: 7 }).options.port).toBeUndefined();
    const { options, config } = resolveConfig({ socketPath: undefined, port: 7, maxConnections: undefined });
    expect([options.socketPath, options.port, options.maxConnections]).toEqual([undefined, 7, 10]);
    expect(config).not.toHaveProperty('socketPath');
  });

  test('makes the socket file by the umask, unless a mode is set', () => {
    const before = process.umask(0o027);
    try {
      expect(resolveConfig({}).options.socketMode).toBe('750');
      expect(resolveConfig({ socketMode: '0660' }).options.socketMode).toBe('0660');
    } finally {
      process.umask(before);
    }
  });

  test('is resolved without a change of the umask, which is that of all threads', () => {
    const umask = vi.spyOn(process, 'umask');
    resolveConfig({});
    expect(umask).not.toHaveBeenCalled();
    umask.mockRestore();
  });

  test('takes the options of Sluice, and does not show its tokens', () => {
    const tokens = { crawler: ['CANARY-0123456789'] };
    const { options, config } = resolveConfig({ workers: { threads: 1 }, auth: { tokens } });
    expect(options).toMatchObject({ workers: { threads: 1 }, auth: { tokens } });
    expect(JSON.stringify(config)).not.toContain('CANARY');
  });

  test.each([
    [{ maxConection: 1 }, 'Invalid option: maxConection: unknown option; did you mean maxConnections?'],
    [{ SocketPath: '/x' }, 'Invalid option: SocketPath: unknown option; did you mean socketPath?'],
    [{ jobTimeOuts: 1 }, 'Invalid option: jobTimeOuts: unknown option; did you mean jobTimeout?'],
    [{ colour: 'red' }, 'Invalid option: colour: unknown option'],
  ])('rejects an unknown option: %o', (given: object, message) => {
    expect(() => new SocketServer(given)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message }),
    );
  });

  test('rejects an unknown setting', () => {
    const settings: object = { loger: undefined };
    expect(() => new SocketServer({}, settings)).toThrow('loger: unknown option; did you mean logger?');
  });

  test.each([
    [{ maxConnections: 0 }, /maxConnections: /],
    [{ heartbeatInterval: 0 }, /heartbeatInterval: /],
    [{ heartbeatInterval: '60 parsecs' }, /heartbeatInterval: /],
    [{ heartbeatTimeout: -1 }, /heartbeatTimeout: /],
    [{ messageBufferSize: -1 }, /messageBufferSize: /],
  ])('rejects a value that is not valid: %o', (given: object, message) => {
    expect(() => new SocketServer(given)).toThrow(message);
  });
});

describe('the environment', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test('is not read for options that are given', () => {
    vi.stubEnv('SLUICE_MAX_CONNECTIONS', 'many');
    vi.stubEnv('SOCKET_PORT', 'of call');
    expect(() => resolveConfig({ socketPath: '/tmp/a.sock' })).toThrow(/SLUICE_MAX_CONNECTIONS: /);
    expect(() => resolveConfig({ maxConnections: 4 })).toThrow(/SOCKET_PORT: /);
    const { options } = resolveConfig({ socketPath: '/tmp/a.sock', maxConnections: 4 });
    expect(options).toMatchObject({ socketPath: '/tmp/a.sock', maxConnections: 4 });
  });

  test('with a misspelt variable is rejected, with a suggestion', () => {
    vi.stubEnv('SLUICE_MAX_CONECTIONS', '4');
    expect(() => resolveConfig({})).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTION',
        message: expect.stringContaining('did you mean SLUICE_MAX_CONNECTIONS?'),
      }),
    );
  });

  test('of a pod beside a Kubernetes service is ignored, with a warning', () => {
    vi.stubEnv('SOCKET_PORT', 'tcp://10.0.0.11:80');
    const { options, warnings } = resolveConfig({});
    expect(options).toMatchObject({ socketPath: DEFAULT_SOCKET_PATH });
    expect(warnings).toEqual(['SOCKET_PORT: ignored, because it is the address of a Kubernetes service']);
  });

  test('with invalid variables does not make the import fail; new SocketServer does, unless it has the options', async () => {
    const code = `
      import { SOCKET_CONFIG, createSocketServer } from 'sluice/drop-in';
      const attempt = (config) => {
        try {
          createSocketServer(config);
          return 'created';
        } catch ({ message }) {
          return message;
        }
      };
      const { maxConnections, connectionTimeout } = SOCKET_CONFIG;
      const attempts = [{}, SOCKET_CONFIG, { ...SOCKET_CONFIG, maxConnections: 4 }].map(attempt);
      console.log(JSON.stringify([maxConnections, connectionTimeout, ...attempts]));`;
    const variables = { SOCKET_MAX_CONNECTIONS: 'many', SLUICE_CONNECTION_TIMEOUT: '7s' };
    const { stdout } = await evaluate(code, variables);
    const error = 'Invalid option: SOCKET_MAX_CONNECTIONS: expected a number';
    expect(JSON.parse(stdout)).toEqual([null, 7000, error, error, 'created']);
  });
});

test('the configuration manager keeps valid changes, and tells of them', () => {
  const initial = configManager.getCurrentConfig();
  expect(initial).toEqual(SOCKET_CONFIG);
  const changes: SocketServerConfig[] = [];
  const stop = configManager.onConfigUpdate((config) => changes.push(config));
  configManager.updateConfig({ maxConnections: 7, jobTimeout: 1 });
  expect(changes).toEqual([{ ...initial, maxConnections: 7, jobTimeout: 1 }]);
  expect(validateCurrentConfig()).toEqual({
    isValid: true,
    errors: [],
    warnings: ['options without effect: jobTimeout'],
  });
  expect(() => configManager.updateConfig({ maxConnections: 0 })).toThrow(/maxConnections: /);
  configManager.reloadFromEnvironment();
  stop();
  configManager.updateConfig({ maxConnections: initial.maxConnections, jobTimeout: undefined });
  expect(changes).toHaveLength(2);
  expect(configManager.getCurrentConfig().maxConnections).toBe(10);
});
