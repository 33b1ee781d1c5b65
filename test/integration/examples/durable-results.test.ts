import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import type { CliRun } from '../../support/cli.js';
import { startExample } from '../../support/example.js';
import { line, VALID } from '../../support/messages.js';
import type { Peer } from '../../support/peer.js';
import { answerAsBroker, ScriptedBroker } from '../../support/scripted-broker.js';

interface Row {
  readonly offset: number;
  readonly jobId: string;
  readonly outcome: string;
}

/** What is used of `node:sqlite`: the types of Node 20 do not have it. */
interface SqliteModule {
  readonly DatabaseSync: new (
    file: string,
  ) => {
    prepare(sql: string): { all(): Record<string, unknown>[] };
    close(): void;
  };
}

const SQLITE: string = 'node:sqlite';
const sqlite: SqliteModule | undefined = await import(SQLITE).catch(() => undefined);

/** The rows of the database, in the order in which they were stored. */
function rowsOf(file: string): Row[] {
  if (!existsSync(file)) return [];
  if (sqlite === undefined) {
    const [, ...rows] = readFileSync(file, 'utf8').trimEnd().split('\n');
    return rows.map((row) => JSON.parse(row));
  }
  const database = new sqlite.DatabaseSync(file);
  const rows = database.prepare('SELECT * FROM results ORDER BY rowid').all();
  database.close();
  return rows.map(({ log_offset, job_id, outcome }) => ({
    offset: Number(log_offset),
    jobId: String(job_id),
    outcome: String(outcome),
  }));
}

const OUTCOMES = ['failed', 'completed', 'completed without success'] as const;

/** The result of a job with this number. */
function result(number: number): string {
  const { job_completed, job_failed } = VALID;
  const jobId = `job-${number}`;
  if (number % 3 === 0) return line({ ...job_failed, jobId });
  return line({ ...job_completed, jobId, data: { ...job_completed.data, success: number % 3 === 1 } });
}

/** Sends results, each after a message that is none. Resolves when they are durable. */
async function publish(peer: Peer, from: number, to: number): Promise<void> {
  for (let number = from; number < to; number++) peer.write(line(VALID.job_progress) + result(number));
  await peer.settled();
}

/** The rows of the results with these numbers, if they are in a log that begins with number `first`. */
function expectedRows(from: number, to: number, first = 0): Row[] {
  return Array.from({ length: to - from }, (_, index) => {
    const number = from + index;
    return {
      offset: 2 * (number - first) + 1,
      jobId: `job-${number}`,
      outcome: OUTCOMES[number % 3] ?? '',
    };
  });
}

async function startWriter(socketPath: string, file: string): Promise<CliRun> {
  const { run } = await startExample('durable-results.mjs', 'reading from', { args: [socketPath, file] });
  return run;
}

/** What the writer reports on standard error, without the warning of Node that SQLite is experimental. */
const reportsOf = ({ stderr }: CliRun) => stderr.match(/^messages .*$/gm) ?? [];

async function stop(run: CliRun): Promise<void> {
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
}

test('a writer that is killed twice stores each result once and in order', async () => {
  const folder = temporaryFolder();
  const { socketPath, connect } = await startPlainBroker({ log: join(folder, 'log') });
  const file = join(folder, 'results.db');
  const crawler = await connect();
  let total = 0;
  const publishMore = () => {
    total += 20;
    return publish(crawler, total - 20, total);
  };
  await publishMore();
  let isKilling = true;
  const kills = (async () => {
    for (let kill = 1; kill <= 2; kill++) {
      const run = await startWriter(socketPath, file);
      // The first time early, while it reads what it has missed; then later, also among new results.
      const batches = () => run.stdout.match(/^stored /gm)?.length ?? 0;
      await until(() => batches() >= kill || run.child.exitCode !== null);
      run.child.kill('SIGKILL');
      expect(await run.exited).toBe('SIGKILL');
    }
  })().finally(() => {
    isKilling = false;
  });
  while (isKilling) await publishMore();
  await kills;
  await publishMore();
  const last = await startWriter(socketPath, file);
  await last.says(`:${2 * total}\n`);
  await stop(last);
  expect(rowsOf(file)).toEqual(expectedRows(0, total));
  expect(reportsOf(last)).toEqual([]);
});

test('a writer skips what the broker repeats after a reconnect', async () => {
  const broker = await ScriptedBroker.start();
  const file = join(temporaryFolder(), 'results.db');
  const stored = (offset: number) =>
    `{"from":"c","crawlerId":null,"seq":1,"offset":${offset},"message":${result((offset - 1) / 2).trim()}}\n`;
  broker.answer = ({ type, data }, connection) => {
    if (type !== 'subscribe') return answerAsBroker({ type, data });
    const subscribed = line({ type: 'subscribed', data: { id: data.id, position: '0123456789abcdef:0' } });
    const isFirst = broker.connections.length === 1;
    connection.write(subscribed + stored(1) + stored(3) + (isFirst ? '' : stored(5)));
    // No position was sent. The second connection begins where the first one did.
    if (isFirst) connection.end();
    return undefined;
  };
  const run = await startWriter(broker.socketPath, file);
  await run.says(':6\n');
  await stop(run);
  expect(rowsOf(file)).toEqual(expectedRows(0, 3));
});

test('a writer reports that the log was deleted, and reads the new one from its beginning', async () => {
  const folder = temporaryFolder();
  const log = join(folder, 'log');
  const file = join(folder, 'results.db');
  const { manager, socketPath, connect } = await startPlainBroker({ log });
  const run = await startWriter(socketPath, file);
  await publish(await connect(), 0, 30);
  await run.says(':60\n');
  await manager.stop();
  rmSync(log, { recursive: true });
  const next = await startPlainBroker({ log, socketPath });
  await run.says('are missing: epoch\n');
  await publish(await next.connect(), 30, 50);
  await run.says(':40\n');
  await stop(run);
  expect(reportsOf(run)).toEqual([expect.stringMatching(/^messages \w+:\d+ to \w+:0 are missing: epoch$/)]);
  expect(rowsOf(file)).toEqual([...expectedRows(0, 30), ...expectedRows(30, 50, 30)]);

  const again = await startWriter(socketPath, file);
  expect(again.stdout).toMatch(/^reading from \w+:40\n/);
  await stop(again);
});
