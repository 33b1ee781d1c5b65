// Every hostile message gets its documented code, whichever way it is checked and framed, and the next good
// message always arrives.

import { describe, expect, test } from 'vitest';
import { ValueScanner } from '#src/wire/framing.js';
import { shareBroker, type TestBroker } from '../support/broker.js';
import { HOSTILE, type Hostile } from '../support/hostile.js';
import { VALID } from '../support/messages.js';

/** Whether the text is one object that closes: then nothing need follow it. */
function closes({ bytes }: Hostile): boolean {
  const scanner = new ValueScanner();
  return bytes[0] === 0x7b && scanner.scan(bytes, 0, bytes.length) === bytes.length;
}

/** Sends each hostile message with a good one behind it; gives what went wrong. */
async function attack(
  { connect, manager }: TestBroker,
  messages: readonly Hostile[],
  delimiter: string,
): Promise<string[]> {
  const subscriber = await (await connect()).subscribe({ types: ['job_started'] });
  const crawler = await connect();
  const wrong: string[] = [];
  for (const [index, { name, bytes, code }] of messages.entries()) {
    const repliesBefore = crawler.lines.length;
    const good = JSON.stringify({ ...VALID.job_started, jobId: `job-${index}` });
    crawler.write(Buffer.concat([bytes, Buffer.from(delimiter), Buffer.from(good + delimiter)]));
    await subscriber.count(index + 2);
    if (!subscriber.lines.at(-1)?.includes(`"job-${index}"`))
      wrong.push(`${name}: the good message did not follow`);
    // Rejected, there is a reply; taken, there is nothing to wait for.
    if (code !== undefined) await crawler.count(repliesBefore + 1);
    const replies = crawler.lines.slice(repliesBefore).map((reply) => JSON.parse(reply).data.code);
    if (replies[0] !== code) wrong.push(`${name}: ${replies.join() || 'taken'}`);
  }
  expect(manager.isHealthy()).toBe(true);
  expect(manager.getMetrics().memory.heldBytes).toBe(0);
  return wrong;
}

test('there are enough of them', () => {
  expect(HOSTILE.length).toBeGreaterThanOrEqual(300);
  expect(new Set(HOSTILE.map(({ name }) => name)).size).toBe(HOSTILE.length);
});

describe.each(['on', 'off'] as const)('patterns %s', (patterns) => {
  const broker = shareBroker({ patterns, maxErrorReplies: 1_000_000, maxFramingErrors: 1000 });

  test('with newlines', async () => {
    expect(await attack(broker(), HOSTILE, '\n')).toEqual([]);
  });

  test('without newlines', async () => {
    const messages = HOSTILE.filter(closes);
    expect(messages.length).toBeGreaterThan(150);
    expect(await attack(broker(), messages, '')).toEqual([]);
  });
});

test('no message has changed what objects are', () => {
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});
