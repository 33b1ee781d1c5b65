// Dead letters, as a broker with a durable log makes them.

import { deadLetterDisk, readDeadLetters } from '#src/log/dead-letters.js';
import type { TestBroker } from './broker.js';
import { line, VALID } from './messages.js';

/** The message that a group could not handle. */
export const FAILED = line({ ...VALID.job_started, jobId: 'job-13' });

/**
 * Makes two dead letters of crawler-7: a rejected message with a secret, and one that the group `workers` could not
 * handle. Both are on the disk afterwards.
 * @param log folder of the durable log, which has none yet
 */
export async function makeDeadLetters({ connect }: Pick<TestBroker, 'connect'>, log: string): Promise<void> {
  const crawler = await connect();
  crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-7' });
  crawler.write(`{"type":"heartbeat","data":{"password":"hunter2-hunter2"}}\n${FAILED}`);
  await crawler.settled();
  const member = await connect();
  const group = { id: 'g', group: 'workers', ack: 'manual', from: 'first', maxDeliveries: 1 };
  member.say('subscribe', group);
  const { position } = (await member.next('position')).data as { position: string };
  const [epoch, end] = position.split(':');
  member.say('nack', { id: 'g', position: `${epoch}:${Number(end) - 1}` });
  // They are on the disk a little later than they are counted.
  for (let found = 0; found < 2; ) {
    found = 0;
    for await (const _ of readDeadLetters(deadLetterDisk(log))) found++;
  }
}
