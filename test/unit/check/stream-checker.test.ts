import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SluiceError } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Finding, StreamChecker } from '#src/check/stream-checker.js';
import { resolveOptions } from '#src/config/config.js';
import { NO_SEED } from '#src/messages/job-key.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { Traffic } from '#src/traffic/traffic.js';
import { packageRoot } from '../../support/cli.js';
import { changed, line, VALID } from '../../support/messages.js';

interface Checked {
  checker: StreamChecker;
  findings: Finding[];
}

interface Settings {
  schemas?: string;
  maxMessageSize?: number;
  framing?: 'auto' | 'ndjson';
  /** Without patterns, workers start in half the time. Default: `off`. */
  patterns?: 'on' | 'off';
  onFinding?: (finding: Finding) => void;
}

async function startChecker({
  schemas,
  onFinding,
  patterns = 'off',
  ...given
}: Settings = {}): Promise<Checked> {
  const findings: Finding[] = [];
  const options = resolveOptions({ ...given, patterns });
  const checker = new StreamChecker(
    {
      ...options.workers,
      threads: 1,
      validationTimeout: options.validationTimeout,
      settings: { ...options, schemas, delimiter: 10, jobSeed: NO_SEED },
    },
    await MessageRegistry.load(schemas),
    { onFinding: onFinding ?? ((finding) => findings.push(finding)), onWorkerError: () => {} },
  );
  onTestFinished(() => checker.close());
  await checker.start();
  return { checker, findings };
}

async function check(text: string | Buffer, settings: Settings = {}): Promise<Checked> {
  const checked = await startChecker(settings);
  await checked.checker.write(Buffer.from(text));
  await checked.checker.end();
  return checked;
}

const places = (findings: readonly Finding[]) => findings.map(({ line: at, code }) => `${at} ${code}`);
const good = JSON.stringify(VALID.heartbeat);

describe('a checked stream', () => {
  test('that is empty, or blank, has no messages', async () => {
    const { checker, findings } = await startChecker();
    for (const text of ['', '\n\r\n  \n']) await checker.write(Buffer.from(text));
    await checker.end();
    expect(checker.accepted).toEqual({});
    expect(findings).toEqual([]);
  });

  test('counts valid messages by type, every type', async () => {
    const { checker, findings } = await check(Object.values(VALID).map(line).join(''), { patterns: 'on' });
    expect(checker.accepted).toEqual(Object.fromEntries(Object.keys(VALID).map((type) => [type, 1])));
    expect(findings).toEqual([]);
  });

  test('reports line, path and code of what is rejected, in order', async () => {
    const { findings } = await check(
      `${good}\nno json\n${line(changed('job_progress', { processed: 11 }))}${line({ type: 'fly' })}`,
    );
    expect(findings).toEqual([
      { line: 2, code: 'INVALID_JSON', type: undefined, issues: [], offset: 1 },
      {
        line: 3,
        code: 'RULE_VIOLATION',
        type: 'job_progress',
        issues: [{ path: 'data.processed', code: 'over_total', message: expect.any(String) }],
      },
      { line: 4, code: 'UNKNOWN_TYPE', type: undefined, issues: expect.any(Array) },
    ]);
  });

  test('has the right line numbers, whatever its lines are', async () => {
    const parts: [name: string, text: string, expected: string[]][] = [
      ['blank lines', `\n\n${good}\n\n\nbad\n`, ['6 INVALID_JSON']],
      ['CRLF', `${good}\r\nbad\r\n\r\nbad\r\n`, ['2 INVALID_JSON', '4 INVALID_JSON']],
      [
        'objects with nothing between them',
        `${good}${good}{"type":"x"}\n{"type":"y"}${good}\n`,
        ['1 UNKNOWN_TYPE', '2 UNKNOWN_TYPE'],
      ],
      [
        'a message over several lines',
        '{\n"type"\n:1}\n',
        ['1 INVALID_JSON', '2 SCHEMA_VIOLATION', '3 INVALID_JSON'],
      ],
      ['bytes that are no UTF-8', `${good}\n\xff\n`, ['2 INVALID_UTF8']],
      ['no newline at the end', `${good}\nbad`, ['2 INVALID_JSON']],
    ];
    const { checker, findings } = await startChecker({ patterns: 'on' });
    for (const [, text] of parts) await checker.write(Buffer.from(text, 'latin1'));
    await checker.end();
    let before = 0;
    const found = parts.map(([name, text]) => {
      const first = before;
      before += text.split('\n').length - 1;
      const isLast = text === parts.at(-1)?.[1];
      const within = findings.filter(({ line: at }) => at > first && (isLast || at <= before));
      return [name, places(within.map((finding) => ({ ...finding, line: finding.line - first })))];
    });
    expect(found).toEqual(parts.map(([name, , expected]) => [name, expected]));
  });

  test('has the right line numbers after a message that is too long', async () => {
    const long = `{"type":"heartbeat","x":"${'x'.repeat(3_000_000)}"}`;
    const { checker, findings } = await check(`${good}\n${long}\n${good}\nbad\n${long}`, {
      maxMessageSize: 100_000,
    });
    expect(places(findings)).toEqual(['2 MESSAGE_TOO_LARGE', '4 INVALID_JSON', '5 MESSAGE_TOO_LARGE']);
    expect(checker.accepted).toEqual({ heartbeat: 2 });
  });

  test('may be cut anywhere, and gives the same', async () => {
    const bytes = Buffer.from(`${good}\nbad\n${good}${good}\r\n\n{"type":"é"}\n`);
    const { checker, findings } = await startChecker({ patterns: 'on' });
    for (const byte of bytes) await checker.write(Buffer.from([byte]));
    await checker.end();
    expect(findings).toEqual([
      { line: 2, code: 'INVALID_JSON', type: undefined, issues: [], offset: 0 },
      { line: 5, code: 'UNKNOWN_TYPE', type: undefined, issues: [], offset: undefined },
    ]);
    expect(checker.accepted).toEqual({ heartbeat: 3 });
    expect(checker.bytes).toBe(bytes.length);
  });

  test('of many batches keeps its line numbers, whichever batch is answered first', async () => {
    const traffic = new Traffic({ seed: 9 });
    const lines = Array.from({ length: 8000 }, () => traffic.nextLine());
    const bad = [1, 777, 4000, 7999];
    for (const number of bad) lines[number - 1] = '{"type":"job_failed"}';
    const { checker, findings } = await check(`${lines.join('\n')}\n`, { patterns: 'on' });
    expect(findings.map((finding) => finding.line)).toEqual(bad);
    expect(Object.values(checker.accepted).reduce((sum, count) => sum + count)).toBe(8000 - bad.length);
  });

  test('is checked by a schema module too; a message that kills workers is one finding', async () => {
    const schemas = pathToFileURL(join(packageRoot, 'test/support/deadly-schemas.mjs')).href;
    const { findings } = await check(`${good}\n{"type":"deadly"}\n${good}\nbad\n`, {
      schemas,
    });
    expect(places(findings)).toEqual(['2 VALIDATION_FAILED', '4 INVALID_JSON']);
  });

  test('with strict framing takes one message a line', async () => {
    const { findings } = await check(`${good}${good}\n${good}\n`, { framing: 'ndjson' });
    expect(places(findings)).toEqual(['1 INVALID_JSON']);
  });

  test('ends with what its listener throws', async () => {
    const { checker } = await startChecker({
      onFinding: () => {
        throw new SluiceError('NOT_RUNNING');
      },
    });
    await checker.write(Buffer.from('bad\n'));
    await expect(checker.end()).rejects.toThrow(SluiceError);
  });
});
