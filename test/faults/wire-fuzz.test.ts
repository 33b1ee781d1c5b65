// Mutated traffic against a live broker, over connections that come and go: whatever they send, a good
// crawler's messages arrive, all and in order, what is forwarded is valid, and everything is let go of at the end.
// FUZZ_SECONDS and FUZZ_SEED change the run.

import { MessageValidator } from 'sluice';
import { expect, test } from 'vitest';
import { goMarshal, pythonDumps } from '#bench/layouts.js';
import { Traffic } from '#src/traffic/traffic.js';
import { startBroker, until } from '../support/broker.js';
import { HOSTILE } from '../support/hostile.js';
import { VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 1.5);
const SEED = Number(process.env.FUZZ_SEED ?? 20_260_101);
/** Connections that misbehave at a time. */
const ATTACKERS = 6;

/** Park and Miller's minimal standard generator; values in [0, 1). */
function generator(seed: number): () => number {
  let state = (seed % 2_147_483_646) + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return (state - 1) / 2_147_483_646;
  };
}

const random = generator(SEED);
const below = (limit: number): number => Math.floor(random() * limit);
const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
const traffic = new Traffic({ seed: SEED });
const control = [
  '{"type":"ping","data":{}}',
  '{"type":"subscribe","data":{"id":"f","overflow":"drop-newest"}}',
  '{"type":"unsubscribe","data":{"id":"f"}}',
  '{"type":"hello","data":{"role":"crawler","crawlerId":"f"}}',
  JSON.stringify(VALID.job_assignment),
];

/** Some messages, most of them broken in one way or another. */
function mess(): Buffer {
  const parts: Buffer[] = [];
  for (let count = 1 + below(20); count > 0; count--) {
    const message = traffic.next();
    const text = pick([JSON.stringify, pythonDumps, goMarshal])(message);
    const bytes = pick([
      Buffer.from(text),
      Buffer.from(text),
      Buffer.from(pick(control)),
      pick(HOSTILE).bytes,
    ]);
    parts.push(mutated(bytes.subarray(0, 4096)), Buffer.from(pick(['\n', '\n', '', '\r\n', ' ', '\n\n'])));
  }
  return Buffer.concat(parts);
}

function mutated(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = below(copy.length + 1);
  switch (below(6)) {
    case 0:
      copy[at] = below(256);
      return copy;
    case 1:
      return copy.subarray(0, at);
    case 2:
      return Buffer.concat([copy.subarray(0, at), Buffer.from([below(256), below(256)]), copy.subarray(at)]);
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(below(copy.length + 1))]);
    default:
      return copy;
  }
}

async function misbehave(connect: () => Promise<Peer>, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const peer = await connect();
    for (let writes = below(30); writes > 0 && !peer.socket.destroyed; writes--) {
      const bytes = mess();
      const cut = below(bytes.length + 1);
      peer.write(bytes.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      if (!peer.socket.destroyed && peer.socket.writable) peer.write(bytes.subarray(cut));
      // Reads what comes, but does not keep it.
      peer.lines.length = 0;
    }
    if (below(2) === 0) peer.socket.destroy();
    else await peer.close();
  }
}

test(`${SECONDS} seconds of mutated traffic break nothing`, {
  timeout: SECONDS * 1000 + 60_000,
}, async () => {
  const { manager, socketPath } = await startBroker({ partialMessageTimeout: 500, healthCheckInterval: 100 });
  const validator = new MessageValidator();
  const subscriber = await (await Peer.connect(socketPath)).subscribe({ overflow: 'block', types: ['*'] });
  const good = await Peer.connect(socketPath);
  const endsAt = performance.now() + SECONDS * 1000;
  const isOver = () => performance.now() > endsAt;
  const attackers = Array.from({ length: ATTACKERS }, () =>
    misbehave(() => Peer.connect(socketPath), isOver),
  );
  let sent = 0;
  let arrived = 0;
  let forwarded = 0;
  const take = (): void => {
    for (const line of subscriber.lines.splice(0)) {
      if (line.startsWith('{"type":"subscribed"')) continue;
      forwarded++;
      const result = validator.validate(Buffer.from(line));
      if (!result.ok) expect({ line, result }).toMatchObject({ result: { ok: true } });
      const number = /"jobId":"good-(\d+)"/.exec(line)?.[1];
      if (number !== undefined && line.startsWith('{"type":"job_started"'))
        expect(Number(number)).toBe(arrived++);
    }
  };
  while (!isOver()) {
    for (let count = 0; count < 50; count++) {
      good.write(`${JSON.stringify({ ...VALID.job_started, jobId: `good-${sent++}` })}\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
    take();
  }
  await Promise.all(attackers);
  await good.settled();
  await until(() => {
    take();
    return arrived === sent;
  });
  expect(manager.isHealthy()).toBe(true);
  await Promise.all([good.close(), subscriber.close()]);
  await until(() => manager.getConnectionPool().size === 0);
  await until(() => manager.getMetrics().memory.heldBytes === 0);
  const { accepted, rejected } = manager.getMetrics().protocol;
  // It proves nothing where nothing was rejected, or nothing forwarded.
  expect(Object.keys(rejected).length).toBeGreaterThan(5);
  expect(forwarded).toBeGreaterThan(sent);
  expect(accepted.job_started).toBeGreaterThanOrEqual(sent);
});
