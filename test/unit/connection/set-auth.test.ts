import { expect, onTestFinished, test } from 'vitest';
import { startSlowBroker } from '../../support/admin.js';
import { LIGHT, startPlainBroker } from '../../support/broker.js';
import { Peer } from '../../support/peer.js';

const [OLD, NEW] = ['the-old-token-0123456', 'the-new-token-0123456'];

test('tokens and levels that are none change nothing', async () => {
  const { manager, connect } = await startPlainBroker({ auth: { tokens: { app: [OLD] } } });
  const invalid = expect.objectContaining({ code: 'INVALID_OPTION' });
  // What JavaScript may ask for, and TypeScript would not let through.
  const wrong = JSON.parse('["too short"]');
  expect(() => manager.setAuth({ tokens: { app: wrong } })).toThrow(invalid);
  expect(() => manager.setAuth(wrong)).toThrow(invalid);
  expect(() => manager.setLogLevel(wrong)).toThrow(invalid);
  const peer = await connect();
  peer.say('hello', { role: 'app', token: OLD });
  await peer.next('welcome');

  manager.setAuth({});
  const other = await connect();
  other.say('hello', { role: 'app' });
  await other.next('welcome');
});

test('tokens that are changed during the start are those of the broker that comes up', async () => {
  const { manager, socketPath, open } = await startSlowBroker({ ...LIGHT, auth: { tokens: { app: [OLD] } } });
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
