import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { DEFAULT_SOCKET_PATH, resolveOptions, type SluiceOptions, SOCKET_CONFIG } from 'sluice';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { OPTION_GROUPS, optionsSchema } from '#src/config/config.js';
import { mergeOptions, OPTION_SPECS, optionsFromEnvironment, optionsFromFile } from '#src/config/sources.js';
import { temporaryFolder } from '../../support/broker.js';

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

describe('the environment', () => {
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
  expect(namesOf('path')).toEqual(['socketPath', 'auth.file', 'schemas']);
  expect(namesOf('boolean')).toEqual(['adminAllowRemote', 'enableMetrics']);
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
