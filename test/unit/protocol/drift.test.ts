// `validation: "report"`, and the drift report.

import type { DriftEntry, MessageEvent } from 'sluice';
import { describe, expect, test } from 'vitest';
import { DriftReport } from '#src/protocol/drift-report.js';
import { sharePlainBroker, startBroker, startPlainBroker, until } from '../../support/broker.js';
import { changed, line, VALID } from '../../support/messages.js';

const NOT_A_NAME = 'glpat-abcdefghijklmnop';

/** What a report consists of, apart from times. */
const facts = (entries: readonly DriftEntry[]) =>
  entries
    .map(({ kind, messageType, path, value, sources }) => [
      kind,
      messageType,
      path,
      value,
      sources.map(({ id }) => id).sort(),
    ])
    .sort();

test('keys, values and types that the schemas do not know are recorded with the crawlers that send them', async () => {
  const { manager, connect } = await startBroker();
  const startedAt = Date.now();
  const [one, two] = [await connect(), await connect()];
  one.say('hello', { role: 'crawler', crawlerId: 'crawler-1', name: 'not part of the contract of messages' });
  two.say('hello', { role: 'crawler', crawlerId: 'crawler-2' });
  await Promise.all([one.settled(), two.settled()]);
  one.write(
    [
      line(changed('heartbeat', { gpuUsage: 1 }, { region: 'eu' })),
      line(changed('job_progress', { entityType: 'wiki' })),
      line(changed('job_progress', { entityType: NOT_A_NAME })),
      line(changed('heartbeat', { uptime: 'long' })),
      line({ type: 'wiki_found', data: {} }),
      line({ type: NOT_A_NAME, data: {} }),
      line(changed('heartbeat', { [NOT_A_NAME]: 1 })),
      line(VALID.job_started),
    ].join(''),
  );
  two.write(line(changed('job_progress', { entityType: 'wiki' })));
  await Promise.all([one.settled(), two.settled()]);
  const drift = manager.getDrift();
  expect(facts(drift)).toEqual(
    [
      ['unknown_key', 'heartbeat', 'data.gpuUsage', undefined, ['crawler-1']],
      ['unknown_key', 'heartbeat', 'region', undefined, ['crawler-1']],
      ['unknown_key', 'heartbeat', 'data.*', undefined, ['crawler-1']],
      ['unknown_value', 'job_progress', 'data.entityType', 'wiki', ['crawler-1', 'crawler-2']],
      ['unknown_value', 'job_progress', 'data.entityType', undefined, ['crawler-1']],
      ['unexpected_type', 'heartbeat', 'data.uptime', undefined, ['crawler-1']],
      ['unknown_type', 'wiki_found', '', undefined, ['crawler-1']],
      ['unknown_type', '*', '', undefined, ['crawler-1']],
    ].sort(),
  );
  for (const { firstSeen, lastSeen } of drift) {
    expect(firstSeen).toBeGreaterThanOrEqual(startedAt);
    expect(lastSeen).toBeGreaterThanOrEqual(firstSeen);
  }
  expect(JSON.stringify(drift)).not.toContain('glpat');
});

test('unknown keys are recorded of rejected messages, too, and of those with many', async () => {
  const { manager, connect } = await startPlainBroker({ patterns: 'on' });
  const crawler = await connect();
  const dotted = { 'a.secret.b': 1, 'https://host.internal.example/': 2 };
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`key_${index}`, index]));
  crawler.write(
    [
      line(changed('job_progress', { entityType: 'wiki', gpuUsage: 1, [NOT_A_NAME]: 1 }, { region: 'eu' })),
      line(changed('job_completed', { success: 'yes', seconds: 3, ...dotted })),
      line(changed('job_failed', many)),
    ].join(''),
  );
  await crawler.settled();
  const keys = manager.getDrift().filter(({ kind }) => kind === 'unknown_key');
  const pathsOf = (type: string) =>
    keys.filter(({ messageType }) => messageType === type).map(({ path }) => path);
  expect(pathsOf('job_progress').sort()).toEqual(['data.*', 'data.gpuUsage', 'region']);
  expect(pathsOf('job_completed').sort()).toEqual(['data.*', 'data.seconds']);
  expect(pathsOf('job_failed')).toHaveLength(16);
});

test('a crawler is recorded too if the layout of its extra keys has been learned from another', async () => {
  const { manager, connect } = await startPlainBroker({ patterns: 'on' });
  const [one, two] = [await connect(), await connect()];
  one.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
  two.say('hello', { role: 'crawler', crawlerId: 'crawler-2' });
  const text = line(changed('heartbeat', { gpuUsage: 1 }));
  one.write(text.repeat(2000));
  await one.settled();
  expect(manager.getMetrics().protocol.layoutsLearned).toBe(1);
  const matched = () => manager.getMetrics().protocol.matched;
  const before = matched();
  // Messages that patterns match are sampled.
  const sources = () => manager.getDrift()[0]?.sources.map(({ id }) => id);
  for (let sent = 0; sources()?.includes('crawler-2') !== true && sent < 100; sent++) {
    two.write(text);
    await two.settled();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(sources()).toEqual(['crawler-1', 'crawler-2']);
  expect(matched()).toBeGreaterThan(before);
});

test('the report is bounded, in entries and in crawlers of each', () => {
  const report = new DriftReport();
  const fact = { kind: 'unknown_key', messageType: 'heartbeat', value: undefined } as const;
  for (let crawler = 0; crawler < 20; crawler++)
    report.record({ ...fact, path: 'a' }, `crawler-${crawler}`, crawler);
  expect(report.latest()).toMatchObject([
    { path: 'a', sightings: 20, firstSeen: 0, lastSeen: 19, hasMoreSources: true },
  ]);
  expect(report.latest()[0]?.sources).toHaveLength(16);
  for (let index = 0; index < 1000; index++)
    report.record({ ...fact, path: `b${index}` }, 'crawler', 100 + index);
  expect(report.latest()).toHaveLength(500);
  expect(report.latest()[0]?.path).toBe('b999');
});

describe('validation: "report"', () => {
  const shared = sharePlainBroker({ validation: 'report', patterns: 'on' });
  const invalid = line(changed('job_progress', { entityType: 'wiki' }));
  const broken = line(changed('heartbeat', { activeJobs: -1 }));
  const unknown = '{"type":"wiki_found","jobId":"job-9", "data":[1.0]}\n';

  test('messages that break schemas or rules, or have an unknown type, are forwarded as they came', async () => {
    const { manager, connect } = shared();
    const [subscriber, crawler] = [await (await connect()).subscribe(), await connect()];
    const before = manager.getMetrics().protocol;
    crawler.write(invalid + line(VALID.heartbeat) + broken + unknown + unknown.trimEnd());
    await subscriber.count(6);
    await crawler.settled();
    expect(crawler.errors).toEqual([]);
    expect(subscriber.forwarded.map(({ type }) => type)).toEqual([
      'job_progress',
      'heartbeat',
      'heartbeat',
      'wiki_found',
      'wiki_found',
    ]);
    expect(`${subscriber.lines.join('\n')}\n`).toContain(
      invalid + line(VALID.heartbeat) + broken + unknown + unknown,
    );
    const { reported, rejected } = manager.getMetrics().protocol;
    expect(rejected).toEqual(before.rejected);
    expect(reported).toEqual({ SCHEMA_VIOLATION: 1, RULE_VIOLATION: 1, UNKNOWN_TYPE: 2 });
  });

  test('subscribers of rejected messages learn what is wrong, and that it was forwarded', async () => {
    const { connect } = shared();
    const watcher = await (await connect()).subscribe({ types: ['rejected'] });
    const crawler = await connect();
    crawler.write(invalid);
    crawler.write('{"type":1}\n');
    await watcher.count(3);
    expect(watcher.forwarded).toMatchObject([
      {
        type: 'rejected',
        data: { code: 'SCHEMA_VIOLATION', forwarded: true, issues: [{ path: 'data.entityType' }] },
      },
      { type: 'rejected', data: { code: 'SCHEMA_VIOLATION' } },
    ]);
    await crawler.settled();
    expect(watcher.forwarded[1]?.data).not.toHaveProperty('forwarded');
    expect(crawler.errors).toEqual(['SCHEMA_VIOLATION']);
  });

  test.each([
    [{ types: ['wiki_found'] }, 1],
    [{ types: ['wiki_*'] }, 1],
    [{ types: ['*'], jobIds: ['job-9'] }, 1],
    [{ types: ['wiki_*'], group: 'g' }, 1],
    [{ types: ['wiki'] }, 0],
    [{ types: ['job_*'] }, 0],
    [{ types: ['*'], jobIds: ['job-1'] }, 0],
  ])('an unknown type matches the filter %j: %i', async (filter, expected) => {
    const { connect } = shared();
    const [subscriber, last] = [
      await (await connect()).subscribe(filter),
      await (await connect()).subscribe(),
    ];
    const crawler = await connect();
    crawler.write(unknown);
    await last.next('wiki_found');
    await subscriber.settled();
    expect(subscriber.forwarded).toHaveLength(expected);
  });

  test('an application’s message to something that is no name reaches nobody', async () => {
    const { connect } = shared();
    const [app, crawler] = [await connect(), await connect()];
    app.say('hello', { role: 'app' });
    app.write(line({ ...VALID.shutdown, to: ['c1'] }) + line({ ...VALID.shutdown, to: {} }));
    await app.settled();
    await crawler.settled();
    expect(crawler.forwarded).toEqual([]);
    expect(app.errors).toEqual(['NO_RECIPIENT', 'NO_RECIPIENT']);
  });

  test('what only the broker may send, is no message, or controls the broker, stays an error', async () => {
    const { connect } = shared();
    const [subscriber, crawler] = [
      await (await connect()).subscribe({ types: ['*', 'rejected', 'presence'] }),
      await connect(),
    ];
    for (const type of ['rejected', 'presence', 'welcome', 'error']) crawler.write(line({ type, data: {} }));
    crawler.write('{"type":"subscribe","data":1}\n{"type":2}\n[]\n{"a":\n');
    await crawler.settled();
    expect(crawler.errors).toEqual([
      'UNKNOWN_TYPE',
      'UNKNOWN_TYPE',
      'UNKNOWN_TYPE',
      'UNKNOWN_TYPE',
      'SCHEMA_VIOLATION',
      'SCHEMA_VIOLATION',
      'SCHEMA_VIOLATION',
      'INVALID_JSON',
    ]);
    await subscriber.count(9);
    expect(
      subscriber.forwarded.every(({ type, data }) => type === 'rejected' && 'code' in (data as object)),
    ).toBe(true);
  });

  test('an application reaches a crawler with a message that breaks the contract', async () => {
    const { connect } = shared();
    const [app, crawler] = [await connect(), await connect()];
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    app.say('hello', { role: 'app' });
    await Promise.all([app.settled(), crawler.settled()]);
    app.write(line({ ...changed('job_assignment', { priority: 'high' }), to: 'crawler-1' }));
    expect(await crawler.next('job_assignment')).toMatchObject({ data: { priority: 'high' } });
    expect(app.errors).toEqual([]);
  });

  test('handlers in this process see that a message is not valid', async () => {
    const { manager, connect } = shared();
    const events: MessageEvent[] = [];
    manager.on('message', (event) => events.push(event));
    const crawler = await connect();
    crawler.write(invalid + line(VALID.heartbeat) + unknown);
    await until(() => events.length === 3);
    expect(events.map(({ type, isValid, message }) => [type, isValid, message.type])).toEqual([
      ['job_progress', false, 'job_progress'],
      ['heartbeat', true, 'heartbeat'],
      ['wiki_found', false, 'wiki_found'],
    ]);
  });
});
