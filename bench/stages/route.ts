// Route: selects the subscribers for a run, by the number of subscriptions and their filter.

import type { Bench } from 'tinybench';
import type { Piece } from '../../src/delivery/outbox.js';
import { MessageRegistry } from '../../src/messages/message-registry.js';
import { Subscriptions } from '../../src/routing/subscriptions.js';
import { Traffic } from '../../src/traffic/traffic.js';
import { batchOf, runOf } from './batch.js';

const MESSAGES = 500;
/** One of the sixteen jobs that the traffic starts with. */
const JOB = 'c1-000000-1';

export function add(bench: Bench): ReadonlyMap<string, number> {
  const run = runOf(batchOf(new Traffic({ seed: 1 }).block(MESSAGES)));
  const messages = new Map<string, number>();
  const addCase = (count: number, label: string, filterOf: (index: number) => object): void => {
    const subscriptions = new Subscriptions(MessageRegistry.builtin());
    for (let index = 0; index < count; index++) {
      const subscriber = { id: `${index}`, deliver(_: Piece) {} };
      subscriptions.add(subscriber, { id: 'x', types: ['*'], ...filterOf(index) });
    }
    const name = `to ${count}, of ${label}`;
    bench.add(name, () => subscriptions.route(run));
    messages.set(name, MESSAGES);
  };
  for (const count of [1, 10, 100]) {
    addCase(count, 'everything', () => ({}));
    addCase(count, 'job_completed', () => ({ types: ['job_completed'] }));
    addCase(count, 'one job', () => ({ jobIds: [JOB] }));
  }
  addCase(10_000, 'other jobs', (index) => ({ jobIds: [`other-${index}`] }));
  return messages;
}
