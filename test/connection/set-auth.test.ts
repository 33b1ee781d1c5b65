import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../support/broker.js';
import { Peer } from '../support/peer.js';

const [OLD, NEW] = ['the-old-token-0123456', 'the-new-token-0123456'];

test('tokens that are changed during the start are those of the broker that comes up', async () => {
  const folder = temporaryFolder();
  const socketPath = join(folder, 'broker.sock');
  // A module that takes its time: the broker starts no sooner than it is let.
  const slow = join(folder, 'slow.mjs');
  writeFileSync(slow, 'await globalThis.sluiceTestGate; export const schemas = {};');
  let open = () => {};
  Object.assign(globalThis, { sluiceTestGate: new Promise<void>((resolve) => (open = resolve)) });
  const auth = { tokens: { app: [OLD] } };
  const manager = new SocketManager(
    { socketPath, auth, schemas: slow, workers: { threads: 1 } },
    { logger: pino({ level: 'silent' }) },
  );
  onTestFinished(() => manager.stop());
  const started = manager.start();
  expect(() => manager.setAuth({ tokens: {}, file: '/nowhere.json' })).toThrow(
    expect.objectContaining({ code: 'CONFIG_UNREADABLE' }),
  );
  manager.setAuth({ tokens: { app: [NEW] } });
  open();
  await started;
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
