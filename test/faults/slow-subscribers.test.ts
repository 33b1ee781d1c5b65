// Subscribers that stop reading, or read one byte a second: what the others get. How fast they get it:
// test/soak/slow-subscribers.soak.ts.

import { describe, expect, test } from 'vitest';
import { until } from '../support/broker.js';
import { ledgerOf } from '../support/numbered.js';
import { Peer } from '../support/peer.js';
import { share } from '../support/share.js';
import { Field, PRODUCERS, subscribeByteByByte } from '../support/slow-subscribers.js';

/** Several times what the broker keeps for a subscriber that does not read. */
const EACH = 7500;
/** Several times what the broker and the kernel keep of publishers that have to wait. */
const EACH_WAITING = 25_000;

describe('beside slow subscribers, the others lose nothing', () => {
  const field = share(async (whenOver) => {
    const started = await Field.start(EACH, whenOver);
    whenOver(() => started.close());
    return started;
  });

  test.each(['disconnect', 'drop-oldest', 'drop-newest'] as const)('%s', async (overflow) => {
    const rounds = [await field().roundBesideSlow(overflow), await field().round()];
    expect(rounds.flatMap(({ faults }) => faults)).toEqual([]);
  });

  test('block: all wait for the slow one, and nobody loses anything', async () => {
    const field = await Field.start(EACH_WAITING);
    const { socketPath } = field.broker;
    const stopped = await (await Peer.connect(socketPath)).subscribe({ overflow: 'block' });
    const trickle = subscribeByteByByte(socketPath, 'block');
    stopped.socket.pause();
    let isOver = false;
    const round = field.round().finally(() => {
      isOver = true;
    });
    await until(() => field.isStuck);
    // That nothing more happens can only be waited for.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(field.isStuck).toBe(true);
    expect(isOver).toBe(false);
    trickle.destroy();
    stopped.socket.resume();
    expect((await round).faults).toEqual([]);
    await stopped.count(PRODUCERS * EACH_WAITING + 1);
    expect(field.faults(ledgerOf(stopped))).toEqual([]);
    field.close();
    await stopped.close();
  });
});
