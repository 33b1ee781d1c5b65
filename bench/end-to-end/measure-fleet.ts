// The measurements of fleets: how fast the durable log of a host is forwarded to the engine, and how long a message takes
// from one host to another; beside the engine alone, with one message per publication.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { type Adopt, cpuSecondsOf, withBroker } from './measure.js';
import { blocksOf, type Confirming, quantilesOf, run, startStoreLoad } from './measure-stores.js';
import type { Store, StoreName } from './stores.js';
import { durableCommand, NATS_PORT } from './systems.js';

export interface Forwarding {
  readonly messagesPerSecond: number;
  /** Bytes of messages, in 10^6. */
  readonly megabytesPerSecond: number;
  /** CPU time per million messages, in s: of the broker, or of the client that publishes; and of the engine. */
  readonly cpuPerMillion: number;
  readonly engineCpuPerMillion: number;
}

/** For a scale of 1. */
const MESSAGES = 800_000;
/** Few enough for the single messages of the engine alone. */
const SINGLE_MESSAGES = 400_000;
const PUBLISHERS = 4;
const SAMPLES = 1000;
const WARM_UP_SAMPLES = 2000;
const POLL = 10;

/** What is measured: a fleet, or its engine alone. */
export interface FleetSystem {
  readonly name: StoreName;
  readonly isFleet: boolean;
  readonly engine: Store;
}

export function fleetSystems(engine: Store): FleetSystem[] {
  return [
    { name: 'Sluice, fleet', isFleet: true, engine },
    { name: engine.name, isFleet: false, engine },
  ];
}

/** What four publishers have sent, to the engine. */
export function measureForwarding({ engine, isFleet }: FleetSystem, scale: number): Promise<Forwarding> {
  return isFleet ? measureHost(engine, scale) : measureEngine(engine, scale);
}

/** The messages are in the log of the host before the engine, which is stopped meanwhile, gets the first one. */
function measureHost(engine: Store, scale: number): Promise<Forwarding> {
  return withBroker(engine, [], async (nats, { socketPath = '' }, adopt) => {
    const host = await startHost(`${socketPath}-a`, 'a', adopt);
    const phases = [blocksOf((MESSAGES * scale) / 2), blocksOf(MESSAGES * scale)];
    const settings = { role: 'store', publishers: PUBLISHERS, phases, wire: 'lines' };
    const publishers = await startStoreLoad({ ...settings, socketPath: host.socketPath }, adopt);
    const warmUp = await run(publishers);
    await untilForwarded(host.adminPath, warmUp.messages);
    nats.kill('SIGSTOP');
    const { messages, bytes } = await run(publishers);
    const [hostBefore, engineBefore] = [cpuSecondsOf(host.pid), cpuSecondsOf(nats.pid as number)];
    const startedAt = performance.now();
    nats.kill('SIGCONT');
    await untilForwarded(host.adminPath, warmUp.messages + messages);
    const seconds = (performance.now() - startedAt) / 1000;
    return {
      messagesPerSecond: messages / seconds,
      megabytesPerSecond: bytes / seconds / 1e6,
      cpuPerMillion: ((cpuSecondsOf(host.pid) - hostBefore) / messages) * 1e6,
      engineCpuPerMillion: ((cpuSecondsOf(nats.pid as number) - engineBefore) / messages) * 1e6,
    };
  });
}

function measureEngine(engine: Store, scale: number): Promise<Forwarding> {
  return withBroker(engine, [], async (nats, target, adopt) => {
    const steady = blocksOf(SINGLE_MESSAGES * scale);
    const settings = { role: 'store', publishers: PUBLISHERS, phases: [Math.ceil(steady / 4), steady] };
    const publishers = await startStoreLoad({ ...target, ...settings, wire: engine.wire }, adopt);
    await run(publishers);
    const client = publishers.pid as number;
    const [clientBefore, engineBefore] = [cpuSecondsOf(client), cpuSecondsOf(nats.pid as number)];
    const { seconds, messages, bytes } = await run(publishers);
    return {
      messagesPerSecond: messages / seconds,
      megabytesPerSecond: bytes / seconds / 1e6,
      cpuPerMillion: ((cpuSecondsOf(client) - clientBefore) / messages) * 1e6,
      engineCpuPerMillion: ((cpuSecondsOf(nats.pid as number) - engineBefore) / messages) * 1e6,
    };
  });
}

/** One message at a time, from a crawler of one host to an application of another one. */
export function measureCrossing({ engine, isFleet }: FleetSystem, scale: number): Promise<Confirming> {
  return withBroker(engine, [], async (_, target, adopt) => {
    const samples = Math.max(20, Math.round(SAMPLES * Math.min(1, scale)));
    const warmUp = Math.round(WARM_UP_SAMPLES * Math.min(1, scale));
    let settings: object = { ...target, reader: target, wire: engine.wire };
    if (isFleet) {
      const from = await startHost(`${target.socketPath}-a`, 'a', adopt);
      const to = await startHost(`${target.socketPath}-b`, 'b', adopt);
      const [{ socketPath }, reader] = [from, { socketPath: to.socketPath }];
      settings = { socketPath, reader, wire: 'lines' };
    }
    const load = await startStoreLoad({ ...settings, role: 'deliver', samples, warmUp }, adopt);
    const { latencies = [] } = await run(load);
    return quantilesOf(latencies);
  });
}

async function startHost(socketPath: string, name: string, adopt: Adopt) {
  const adminPath = `${socketPath}.admin`;
  const fleet = ['--fleet', `nats://127.0.0.1:${NATS_PORT}`, '--fleet-host', name, '--admin', adminPath];
  const [program = '', ...args] = durableCommand(socketPath, ...fleet);
  const broker = adopt(spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  let output = '';
  while (!output.includes('listening')) output += String((await once(broker.stdout as never, 'data'))[0]);
  broker.stdout?.resume();
  return { socketPath, adminPath, pid: broker.pid as number };
}

/** Resolves when the engine has stored this many messages of a host. */
async function untilForwarded(adminPath: string, messages: number): Promise<void> {
  while ((await forwardedBy(adminPath)) < messages) await setTimeout(POLL);
}

async function forwardedBy(socketPath: string): Promise<number> {
  const reply = request({ socketPath, path: '/api/stats' });
  reply.end();
  const [response] = (await once(reply, 'response')) as [AsyncIterable<Buffer>];
  let text = '';
  for await (const part of response) text += part;
  const { fleet } = JSON.parse(text) as { fleet?: { messages: number } };
  return fleet?.messages ?? 0;
}
