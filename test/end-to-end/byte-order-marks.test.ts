// Byte order marks through a broker, from every sender, in both framings.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { shareBroker, temporaryFolder } from '../support/broker.js';
import { shareSluice } from '../support/cli.js';
import { VALID } from '../support/messages.js';

const beat = JSON.stringify(VALID.heartbeat);
const started = JSON.stringify(VALID.job_started);
const TOKEN = 'a-token-of-a-crawler-1234';
const run = shareSluice();

describe.each(['auto', 'ndjson'] as const)('with %s framing', (framing) => {
  const broker = shareBroker({ framing });

  test('a mark before a message is not forwarded, in one write or byte by byte', async () => {
    const { connect } = broker();
    const app = await connect();
    await app.subscribe({ types: ['heartbeat', 'job_started'] });
    const before = app.lines.length;
    const crawler = await connect();
    crawler.socket.setNoDelay(true);
    crawler.write(`\ufeff${beat}\n`);
    await app.count(before + 1);
    crawler.write(`${beat}\n\ufeff${started}\n\ufeff\n${beat}\n \ufeff${started}\r\n`);
    await app.count(before + 5);
    for (const byte of Buffer.from(`\ufeff${beat}\n\ufeff${started}\n`)) {
      crawler.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await app.count(before + 7);
    expect(app.lines.slice(before)).toEqual([beat, beat, started, beat, started, beat, started]);
    await crawler.settled();
    expect(crawler.errors).toEqual([]);
  });

  test('a mark does not count in the size, line or sample of a rejected message', async () => {
    const { connect, manager } = broker();
    const crawler = await connect();
    const rejected = once(manager, 'rejected');
    crawler.write(`\ufeff\n\ufeffjunk\n`);
    expect(await rejected).toMatchObject([{ code: 'INVALID_JSON', bytes: 4, line: 2, sample: 'junk' }]);
  });

  test('a mark may precede control messages and those of applications', async () => {
    const { connect } = broker();
    const crawler = await connect();
    crawler.write(
      `\ufeff${JSON.stringify({ type: 'hello', data: { role: 'crawler', crawlerId: 'c-1' } })}\n`,
    );
    await crawler.next('welcome');
    const app = await connect();
    const assignment = JSON.stringify({ ...VALID.job_assignment, to: 'c-1' });
    app.write(`\ufeff${assignment}\n`);
    await crawler.next('job_assignment');
    expect(crawler.lines.at(-1)).toBe(assignment);
  });

  test('sluice pub and sluice check read files with marks', async () => {
    const { connect, socketPath } = broker();
    const file = join(temporaryFolder(), 'messages.ndjson');
    writeFileSync(file, `\ufeff${beat}\n\ufeff${started}`);
    const app = await connect();
    await app.subscribe({ types: ['heartbeat', 'job_started'] });
    const before = app.lines.length;
    expect(await run(['pub', '--socket', socketPath, file])).toMatchObject({ code: 0, stderr: '' });
    expect((await app.count(before + 2)).slice(before)).toEqual([beat, started]);
    const checked = await run(['check', '--workers', '1', '--framing', framing, file]);
    expect(checked).toMatchObject({ code: 0, stdout: '' });
    expect(checked.stderr).toContain('checked 2 messages, 0 rejected');
  });
});

const tokenBroker = shareBroker({
  patterns: 'off',
  auth: { tokens: { crawler: [TOKEN] } },
});

test('a peer that needs a token may begin with a mark', async () => {
  const { connect } = tokenBroker();
  const crawler = await connect();
  crawler.write(`\ufeff${JSON.stringify({ type: 'hello', data: { role: 'crawler', token: TOKEN } })}\n`);
  expect(await crawler.next('welcome')).toBeDefined();
});
