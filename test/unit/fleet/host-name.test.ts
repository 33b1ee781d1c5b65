import { expect, onTestFinished, test } from 'vitest';
import type { FleetEngine } from '#src/fleet/engine.js';
import { Fleet } from '#src/fleet/fleet.js';
import type { FleetValidation } from '#src/fleet/fleet-validation.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { until } from '../../support/broker.js';
import { FakeEngine, FakeStream } from '../../support/fake-engine.js';
import { appendNumbered, openMessageLog } from '../../support/message-log.js';

const HOST = 'same';

/** A broker that has the name, since its engine has no other one, and what tells it from others. */
async function startHost() {
  const stream = new FakeStream();
  const engine = new FakeEngine(stream);
  const log = await openMessageLog();
  const errors: unknown[] = [];
  const fleet = await Fleet.join({
    engine: engine as Partial<FleetEngine> as FleetEngine,
    host: HOST,
    log,
    registry: MessageRegistry.builtin(),
    delimiter: 10,
    validation: { close: async () => {} } as Partial<FleetValidation> as FleetValidation,
    requestTimeout: 1000,
    listener: { onError: (error) => errors.push(error), onRecovered: () => {} },
    describe: () => ({ version: '', uptime: 0, connections: 0, rate: 0 }),
  });
  onTestFinished(async () => {
    await fleet.close();
    await log.close(1000);
  });
  const instance = await new FakeEngine(stream).request(`host.${HOST}`, new Uint8Array());
  return { engine, log, fleet, errors, instance: Buffer.from(instance ?? '') };
}

type Host = Awaited<ReturnType<typeof startHost>>;

test.each([true, false])(
  'of two brokers that both have a host name, the same one keeps it, whichever connects first (%s)',
  async (isFirst) => {
    const hosts: [Host, Host] = [await startHost(), await startHost()];
    const [keeper, other] = hosts.sort((a, b) => a.instance.compare(b.instance));
    const stream = new FakeStream();
    for (const { engine } of hosts) engine.disconnect();
    for (const { engine, log, fleet } of isFirst ? [keeper, other] : [other, keeper]) {
      engine.connect(stream);
      appendNumbered(log, 0, 10);
      // Until it forwards, or has given up.
      await until(() => fleet.statistics.lag === 0 || other.errors.length > 0);
    }
    await until(() => other.errors.length > 0);
    expect(other.errors).toMatchObject([{ code: 'FLEET_HOST_IN_USE' }]);
    const { messages } = other.fleet.statistics;
    appendNumbered(other.log, 10, 20);
    const end = appendNumbered(keeper.log, 10, 20);
    await until(() => keeper.fleet.statistics.messages === end && keeper.fleet.statistics.lag === 0);
    expect(other.fleet.statistics.messages).toBe(messages);
    expect(keeper.errors).toEqual([]);
  },
);
