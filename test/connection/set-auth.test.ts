import { expect, onTestFinished, test } from 'vitest';
import { startSlowBroker } from '../support/admin.js';
import { Peer } from '../support/peer.js';

const [OLD, NEW] = ['the-old-token-0123456', 'the-new-token-0123456'];

test('tokens that are changed during the start are those of the broker that comes up', async () => {
  const { manager, socketPath, open } = await startSlowBroker({ auth: { tokens: { app: [OLD] } } });
  expect(() => manager.setAuth({ tokens: {}, file: '/nowhere.json' })).toThrow(
    expect.objectContaining({ code: 'CONFIG_UNREADABLE' }),
  );
  manager.setAuth({ tokens: { app: [NEW] } });
  await open();
  for (const [token, answer] of [
    [NEW, 'welcome'],
    [OLD, 'error'],
  ] as const) {
    const peer = await Peer.connect(socketPath);
    onTestFinished(() => peer.close());
    peer.say('hello', { role: 'app', token });
    await peer.next(answer);
  }
});
