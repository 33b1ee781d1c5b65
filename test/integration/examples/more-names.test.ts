// A schema module with only `extend`, wherever a registry is loaded.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageRegistry, MessageValidator } from 'sluice';
import { SluiceClient } from 'sluice/client';
import { expect, onTestFinished, test } from 'vitest';
import { asyncApiDocument } from '#src/admin/asyncapi.js';
import { schemaEntries } from '#src/admin/json-schemas.js';
import { shareBroker, temporaryFolder } from '../../support/broker.js';
import { packageRoot, shareSluice } from '../../support/cli.js';
import { changed, line, VALID } from '../../support/messages.js';
import { createPatterns, matchFirst } from '../../support/patterns.js';

const schemas = join(packageRoot, 'examples/more-names.mjs');
const progress = changed('job_progress', { entityType: 'wiki' });
/** As a program would write it whose types are those of the protocol. */
const assigned = (job_type: string): { type: string; [key: string]: unknown } => ({
  ...VALID.job_assignment,
  data: { ...VALID.job_assignment.data, job_type, priority: undefined },
});
const assignment = assigned('crawl_wiki');
const broker = shareBroker({ schemas });
const run = shareSluice();

test('a broker accepts the names, from crawlers, applications and its own process', async () => {
  const { connect, manager, socketPath } = broker();
  const crawler = await connect();
  crawler.write(line({ type: 'hello', data: { role: 'crawler', crawlerId: 'c-1' } }));
  await crawler.next('welcome');
  const client = new SluiceClient({ socketPath, hello: { role: 'app' } });
  onTestFinished(() => void client.close(0));
  await client.connect();
  const messages = await client.subscribe({ types: ['job_progress'] });
  crawler.write(line(progress) + line(changed('job_progress', { entityType: 'planet' })));
  for await (const { message } of messages) {
    expect(message).toEqual(progress);
    break;
  }
  expect(await crawler.next('error')).toMatchObject({
    data: { code: 'SCHEMA_VIOLATION', issues: [{ path: 'data.entityType' }] },
  });
  client.publishRaw(Buffer.from(line({ ...assignment, to: 'c-1' })));
  expect(await crawler.next('job_assignment')).toMatchObject({ data: { job_type: 'crawl_wiki' } });
  const [connection] = manager.getConnectionPool();
  await connection?.send(assignment);
  await expect(connection?.send(assigned('planet'))).rejects.toMatchObject({
    code: 'INVALID_MESSAGE',
  });
  expect(manager.getMetrics().protocol.matched).toBeGreaterThan(0);
});

test('a client fills in defaults of a message with a name that it does not know', async () => {
  const { connect, socketPath } = broker();
  const client = new SluiceClient({ socketPath, hello: { role: 'crawler', crawlerId: 'c-2' } });
  onTestFinished(() => void client.close(0));
  const received = new Promise((resolve) => client.on('message', ({ message }) => resolve(message)));
  await client.connect();
  const app = await connect();
  app.write(line({ ...assignment, to: 'c-2' }));
  expect(await received).toMatchObject({ data: { job_type: 'crawl_wiki', priority: 1, resume: false } });
});

test('the patterns match the names, and the JSON Schemas list them', async () => {
  const registry = await MessageRegistry.load(schemas);
  const patterns = createPatterns(registry);
  for (const entityType of ['wiki', 'snippet', 'issue', 'mergeRequestNotes']) {
    expect(
      matchFirst(patterns, JSON.stringify(changed('job_progress', { entityType }))),
      entityType,
    ).toBeDefined();
  }
  expect(
    matchFirst(patterns, JSON.stringify(changed('job_progress', { entityType: 'planet' }))),
  ).toBeUndefined();
  for (const document of [schemaEntries(registry), asyncApiDocument(registry, undefined, '1.0.0')]) {
    expect(JSON.stringify(document)).toMatch(/"mergeRequestNotes","wiki","snippet"\]/);
    expect(JSON.stringify(document)).toMatch(/"crawl_project","crawl_wiki"\]/);
  }
});

test('without the module, the names are still unknown', async () => {
  await MessageRegistry.load(schemas);
  expect(new MessageValidator().validate(progress)).toMatchObject({ code: 'SCHEMA_VIOLATION' });
});

test('sluice check and sluice schemas read the module', async () => {
  const listed = await run(['schemas', '--schemas', schemas]);
  expect(listed.stdout).toMatch(/^job_progress +crawler +compiled$/m);
  const file = join(temporaryFolder(), 'messages.ndjson');
  writeFileSync(file, line(progress) + line(assignment));
  expect(await run(['check', '--workers', '1', '--schemas', schemas, file])).toMatchObject({ code: 0 });
  expect(await run(['check', '--workers', '1', file])).toMatchObject({ code: 1 });
});
