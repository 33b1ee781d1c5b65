// The state of crawlers and jobs, derived from their messages. Bounded, and kept in memory only.

import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import { SluiceError } from '../errors.js';
import { LruMap } from '../lru-map.js';
import type { MessageMap } from '../messages/messages.js';
import { memoryOf } from './memory-size.js';

/** A known crawler. */
export interface CrawlerRecord {
  /** Its crawlerId, or its connection ID if it has sent none. Accepted by `sendToCrawler`. */
  readonly id: string;
  readonly connectionId: string;
  readonly isConnected: boolean;
  /** Data of its latest heartbeat. */
  readonly heartbeat: MessageMap['heartbeat']['data'] | undefined;
  /** When its latest message was handled. */
  readonly seenAt: Date;
}

/** A known job. */
export interface JobRecord {
  readonly id: string;
  /** {@link CrawlerRecord.id} of the crawler that last sent a message about it. */
  readonly crawler: string;
  readonly status: 'started' | 'running' | 'completed' | 'failed';
  readonly progress: MessageMap['job_progress']['data'] | undefined;
  readonly completed: MessageMap['job_completed']['data'] | undefined;
  readonly failed: MessageMap['job_failed']['data'] | undefined;
  /** When its latest message was handled. */
  readonly updatedAt: Date;
}

/** Limits of a {@link FleetState}. */
export interface FleetLimits {
  /** Maximum number of crawlers; the least recently active one is evicted first. Default: 10,000. */
  readonly maxCrawlers?: number | undefined;
  /** Maximum number of jobs; the least recently updated one is evicted first. Default: 10,000. */
  readonly maxJobs?: number | undefined;
  /**
   * Maximum estimated memory of all crawlers, and of all jobs, in bytes. Default: 64 MiB each. Beyond that, the least
   * recently updated records are evicted, but never the latest one.
   */
  readonly maxFleetBytes?: number | undefined;
}

const DEFAULT_CAPACITY = 10_000;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

/** When a message was received, which is not the order in which messages of different connections are handled. */
interface Receipt {
  readonly crawlerId: string | undefined;
  /** When its connection took the crawlerId, in ms of the monotonic clock; 0 if it did not. */
  readonly identifiedAt: number;
  readonly receivedAt: number;
}

/** A crawler, and the receipt of its latest message and of its latest heartbeat. */
interface KnownCrawler {
  readonly record: CrawlerRecord;
  readonly receipt: Receipt;
  readonly heartbeatReceipt: Receipt | undefined;
}

/** A job, the receipt of its latest message, and the estimated memory of the data of each status, in bytes. */
interface KnownJob {
  readonly record: JobRecord;
  readonly receipt: Receipt;
  readonly sizes: Readonly<Partial<Record<JobRecord['status'], number>>>;
}

export class FleetState {
  readonly #crawlers: LruMap<string, KnownCrawler>;
  readonly #jobs: LruMap<string, KnownJob>;

  /** The ID under which each connection's crawler is recorded. */
  readonly #ids = new WeakMap<SocketConnection, string>();

  readonly #connectionOf: (crawlerId: string) => SocketConnection | undefined;

  /**
   * @param connectionOf returns a crawler's present connection
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(limits: FleetLimits, connectionOf: (crawlerId: string) => SocketConnection | undefined) {
    const { maxCrawlers = DEFAULT_CAPACITY, maxJobs = DEFAULT_CAPACITY } = limits;
    const { maxFleetBytes = DEFAULT_MAX_BYTES } = limits;
    this.#connectionOf = connectionOf;
    for (const [name, value] of Object.entries({ maxCrawlers, maxJobs, maxFleetBytes })) {
      if (!(value >= 1)) throw new SluiceError('INVALID_OPTION', `${name}: must be 1 or more`);
    }
    this.#crawlers = new LruMap(maxCrawlers, maxFleetBytes);
    this.#jobs = new LruMap(maxJobs, maxFleetBytes);
  }

  /** Crawlers, the most recently active last. */
  get crawlers(): CrawlerRecord[] {
    return this.#crawlers.values().map(({ record }) => record);
  }

  /** Jobs, the most recently updated last. */
  get jobs(): JobRecord[] {
    return this.#jobs.values().map(({ record }) => record);
  }

  getCrawler(id: string): CrawlerRecord | undefined {
    return this.#crawlers.get(id)?.record;
  }

  getJob(id: string): JobRecord | undefined {
    return this.#jobs.get(id)?.record;
  }

  /**
   * Records that a crawler has sent a message.
   * @internal
   */
  recordCrawler(event: MessageEvent, heartbeat?: MessageMap['heartbeat']['data']): CrawlerRecord {
    const { connection, receivedAt } = event;
    const id = idOf(connection);
    const before = this.#knownOf(connection);
    // The crawler has identified itself meanwhile: it must not be listed twice.
    if (before !== undefined && before.record.id !== id) this.#crawlers.delete(before.record.id);
    // The message may be handled after the crawler has reconnected, and after messages of its later connections.
    const present = this.#presentOf(connection);
    const latest = this.#crawlers.get(id) ?? before;
    const receipt = receiptOf(connection, receivedAt);
    const isReplaced = present === undefined && latest !== undefined && isBefore(receipt, latest.receipt);
    const owner = present ?? connection;
    this.#ids.set(owner, id);
    const isOutdated = heartbeat === undefined || isBefore(receipt, latest?.heartbeatReceipt);
    const record: CrawlerRecord = {
      id,
      connectionId: isReplaced ? latest.record.connectionId : owner.id,
      isConnected: isReplaced ? latest.record.isConnected : owner.isOpen,
      heartbeat: isOutdated ? latest?.record.heartbeat : heartbeat,
      seenAt: new Date(),
    };
    const known: KnownCrawler = {
      record,
      receipt: isReplaced ? latest.receipt : receiptOf(owner, receivedAt),
      heartbeatReceipt: isOutdated ? latest?.heartbeatReceipt : receipt,
    };
    this.#crawlers.set(id, known, memoryOf(record));
    return record;
  }

  /**
   * Records that a connection is closed.
   * @internal
   */
  recordDisconnect(connection: SocketConnection): void {
    const known = this.#knownOf(connection);
    if (known === undefined) return;
    const { id, connectionId } = known.record;
    const successor = this.#presentOf(connection);
    const isConnected = successor !== undefined;
    const record = { ...known.record, connectionId: successor?.id ?? connectionId, isConnected };
    if (successor !== undefined) this.#ids.set(successor, id);
    const { crawlerId, identifiedAt } = successor ?? known.receipt;
    const receipt = { ...known.receipt, crawlerId, identifiedAt };
    this.#crawlers.replace(id, { ...known, record, receipt });
  }

  /**
   * Records a message about a job, unless a later one is recorded.
   * @internal
   */
  recordJob(
    id: string,
    event: MessageEvent,
    update: Partial<JobRecord> & Pick<JobRecord, 'status'>,
  ): JobRecord {
    const receipt = receiptOf(event.connection, event.receivedAt);
    const latest = this.#jobs.get(id);
    if (latest !== undefined && isBefore(receipt, latest.receipt)) return latest.record;
    const noData = { progress: undefined, completed: undefined, failed: undefined };
    // A job that is started again loses its earlier data.
    const before = update.status === 'started' ? undefined : latest;
    const known = before?.record ?? noData;
    const record = { ...known, ...update, id, crawler: idOf(event.connection), updatedAt: new Date() };
    const sizes = { ...before?.sizes, [update.status]: memoryOf(update) };
    const size = Object.values(sizes).reduce((sum, part) => sum + part, memoryOf(id));
    this.#jobs.set(id, { record, receipt, sizes }, size);
    return record;
  }

  /** The present connection of a connection's crawler, if that has a crawlerId and is connected. */
  #presentOf({ crawlerId }: SocketConnection): SocketConnection | undefined {
    return crawlerId === undefined ? undefined : this.#connectionOf(crawlerId);
  }

  /** What is known of a connection's crawler, unless that has reconnected on another connection. */
  #knownOf(connection: SocketConnection): KnownCrawler | undefined {
    const known = this.#crawlers.get(this.#ids.get(connection) ?? '');
    return known?.record.connectionId === connection.id ? known : undefined;
  }
}

function idOf({ id, crawlerId }: SocketConnection): string {
  return crawlerId ?? id;
}

function receiptOf({ crawlerId, identifiedAt }: SocketConnection, receivedAt: number): Receipt {
  return { crawlerId, identifiedAt, receivedAt };
}

/** Whether a message was received before another one, or on an older connection of its crawler, which may be read later. */
function isBefore(one: Receipt, other: Receipt | undefined): boolean {
  if (other === undefined) return false;
  const areIdentified = one.identifiedAt > 0 && other.identifiedAt > 0;
  const isOtherConnection = one.identifiedAt !== other.identifiedAt;
  if (areIdentified && isOtherConnection && one.crawlerId === other.crawlerId)
    return one.identifiedAt < other.identifiedAt;
  return one.receivedAt < other.receivedAt;
}
