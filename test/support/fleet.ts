// Brokers of a fleet, and the applications that subscribe to all of them.

import { join } from 'node:path';
import { SluiceClient, type Subscription, type SubscriptionFilter } from 'sluice/client';
import { onTestFinished } from 'vitest';
import { startPlainBroker, type TestBroker, temporaryFolder, until } from './broker.js';
import { line } from './messages.js';
import type { NatsServer } from './nats-server.js';
import { Ledger, numberedBlock } from './numbered.js';
import { Peer } from './peer.js';

export const QUICK = { initialDelay: 5, maxDelay: 50 };
/** A crawler's `hello`, as a line. */
export const hello = (crawlerId: string) => line({ type: 'hello', data: { role: 'crawler', crawlerId } });

export interface Host extends TestBroker {
  readonly errors: string[];
}

/** A broker with a durable log, and what it has reported since. */
export async function startHost(
  engine: NatsServer,
  fleetHost: string,
  options: Parameters<typeof startPlainBroker>[0] = {},
): Promise<Host> {
  const log = join(temporaryFolder(), 'log');
  const broker = await startPlainBroker({ log, fleet: [engine.address], fleetHost, ...options });
  const errors: string[] = [];
  broker.manager.on('server_error', ({ error }) => errors.push((error as { code: string }).code));
  return { ...broker, errors };
}

/** An application that subscribes to all hosts. */
export class Application {
  readonly ledger = new Ledger();
  readonly gaps: unknown[] = [];
  readonly hosts = new Set<string | undefined>();
  readonly client: SluiceClient;
  /** Number of messages. */
  received = 0;
  subscription: Subscription | undefined;

  constructor(socketPath: string) {
    this.client = new SluiceClient({ socketPath, reconnect: QUICK });
    this.client.on('gap', (gap) => this.gaps.push(gap));
    onTestFinished(() => void this.client.close(0));
  }

  static async start(socketPath: string, filter: SubscriptionFilter = {}): Promise<Application> {
    const application = new Application(socketPath);
    await application.client.connect();
    application.subscription = await application.client.subscribe(
      { scope: 'fleet', meta: true, ...filter },
      (event) => {
        application.received++;
        application.hosts.add(event.host);
        application.ledger.readLine(event.line.toString());
      },
    );
    return application;
  }

  /** Waits for a producer's first messages. @returns the faults */
  async faults(producer: number, count: number): Promise<string[]> {
    await until(() => this.ledger.of(producer).length >= count);
    return this.ledger.faults(producer, count);
  }
}

/** Sends numbered messages, and waits until they are durable. */
export async function publish(socketPath: string, producer: number, from: number, to: number): Promise<void> {
  const peer = await Peer.connect(socketPath);
  peer.write(hello(`crawler-${producer}`) + numberedBlock(producer, from, to));
  await peer.settled();
  await peer.close();
}
