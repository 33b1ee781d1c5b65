// Where a message stops being JSON or UTF-8, as its sender and others learn it.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageParser, MessageValidator } from 'sluice';
import { expect, test } from 'vitest';
import { shareBroker, temporaryFolder } from '../support/broker.js';
import { shareSluice } from '../support/cli.js';
import { line, VALID } from '../support/messages.js';

const broker = shareBroker();
const run = shareSluice();
/** Text that is invalid at byte 21: two bytes are one character. */
const BAD = '{"type":"CANARY","é",}';
const NO_UTF8 = Buffer.from([0x7b, 0x22, 0xc3, 0xa9, 0xe9, 0x22, 0x7d]);

test('an error reply and a rejected message have the offset, and nothing of the message', async () => {
  const { connect, manager } = broker();
  const app = await connect();
  await app.subscribe({ types: ['rejected'] });
  const crawler = await connect();
  const rejected = once(manager, 'rejected');
  crawler.write(`${line(VALID.heartbeat)} \ufeff ${BAD}\n`);
  expect((await crawler.next('error')).data).toEqual({
    code: 'INVALID_JSON',
    message: 'The message is not valid JSON',
    line: 2,
    offset: 21,
  });
  expect(await rejected).toMatchObject([{ code: 'INVALID_JSON', offset: 21, line: 2 }]);
  expect((await app.next('rejected')).data).toMatchObject({ code: 'INVALID_JSON', offset: 21, issues: [] });
});

test('bytes that are no UTF-8 have an offset, other errors have none', async () => {
  const { connect } = broker();
  const crawler = await connect();
  crawler.write(Buffer.concat([NO_UTF8, Buffer.from('\n')]));
  expect((await crawler.next('error')).data).toMatchObject({ code: 'INVALID_UTF8', offset: 4 });
  crawler.write('{"type":"gossip"}\n');
  const { data } = await crawler.next(({ data: error }) => error?.code === 'UNKNOWN_TYPE');
  expect(data).not.toHaveProperty('offset');
});

test('each of several messages has its own offset', async () => {
  const { connect } = broker();
  const crawler = await connect();
  crawler.write(`{"a":1,}{"b":}\n{"c"}\n{"d":1`);
  crawler.socket.end();
  await crawler.closed;
  const errors = crawler.messages.filter(({ type }) => type === 'error');
  expect(errors.map(({ data }) => [data.code, data.line, data.offset])).toEqual([
    ['INVALID_JSON', 1, 7],
    ['INVALID_JSON', 1, 5],
    ['INVALID_JSON', 2, 4],
    ['INVALID_JSON', 3, 6],
  ]);
});

test('sluice check and sluice pub print it', async () => {
  const { socketPath } = broker();
  const file = join(temporaryFolder(), 'messages.ndjson');
  writeFileSync(file, `${BAD}\n`);
  const checked = await run(['check', '--workers', '1', file]);
  expect(checked.stdout).toBe(`${file}:1: - INVALID_JSON The message is not valid JSON at byte 21\n`);
  const published = await run(['pub', '--socket', socketPath, file]);
  expect(published.stderr).toContain('line 1: INVALID_JSON: The message is not valid JSON at byte 21\n');
  expect(checked.stdout + published.stderr).not.toContain('CANARY');
});

test('a validator and a parser give it for bytes', () => {
  const bytes = Buffer.from(`\ufeff ${BAD}`);
  expect(new MessageValidator().validate(bytes)).toMatchObject({ code: 'INVALID_JSON', offset: 21 });
  expect(new MessageValidator().validate(NO_UTF8)).toMatchObject({ code: 'INVALID_UTF8', offset: 4 });
  const parser = new MessageParser();
  expect([...parser.push(bytes), ...parser.end()]).toMatchObject([{ code: 'INVALID_JSON', offset: 21 }]);
});
