// The state of crawlers and jobs, derived from their messages. Bounded, and kept in memory only.

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

/** A job, and the estimated memory of the data of each status, in bytes. */
interface SizedJob {
  readonly record: JobRecord;
  readonly sizes: Readonly<Partial<Record<JobRecord['status'], number>>>;
}

export class FleetState {
  readonly #crawlers: LruMap<string, CrawlerRecord>;
  readonly #jobs: LruMap<string, SizedJob>;

  /** The ID under which each connection's crawler is recorded. */
  readonly #ids = new WeakMap<SocketConnection, string>();

  /** @throws SluiceError `INVALID_OPTION` */
  constructor({
    maxCrawlers = DEFAULT_CAPACITY,
    maxJobs = DEFAULT_CAPACITY,
    maxFleetBytes = DEFAULT_MAX_BYTES,
  }: FleetLimits = {}) {
    for (const [name, value] of Object.entries({ maxCrawlers, maxJobs, maxFleetBytes })) {
      if (!(value >= 1)) throw new SluiceError('INVALID_OPTION', `${name}: must be 1 or more`);
    }
    this.#crawlers = new LruMap(maxCrawlers, maxFleetBytes);
    this.#jobs = new LruMap(maxJobs, maxFleetBytes);
  }

  /** Crawlers, the most recently active last. */
  get crawlers(): CrawlerRecord[] {
    return this.#crawlers.values();
  }

  /** Jobs, the most recently updated last. */
  get jobs(): JobRecord[] {
    return this.#jobs.values().map(({ record }) => record);
  }

  getCrawler(id: string): CrawlerRecord | undefined {
    return this.#crawlers.get(id);
  }

  getJob(id: string): JobRecord | undefined {
    return this.#jobs.get(id)?.record;
  }

  /**
   * Records that a crawler has sent a message.
   * @internal
   */
  recordCrawler(connection: SocketConnection, heartbeat?: MessageMap['heartbeat']['data']): CrawlerRecord {
    const id = idOf(connection);
    const before = this.#recordOf(connection);
    // The crawler has identified itself meanwhile: it must not be listed twice.
    if (before !== undefined && before.id !== id) this.#crawlers.delete(before.id);
    this.#ids.set(connection, id);
    const latest = this.#crawlers.get(id);
    // Its messages may be handled after it has disconnected, or after another connection has replaced it.
    const isReplaced =
      !connection.isOpen && latest?.isConnected === true && latest.connectionId !== connection.id;
    const record: CrawlerRecord = {
      id,
      connectionId: isReplaced ? latest.connectionId : connection.id,
      isConnected: isReplaced || connection.isOpen,
      heartbeat: heartbeat ?? (latest ?? before)?.heartbeat,
      seenAt: new Date(),
    };
    this.#crawlers.set(id, record, memoryOf(record));
    return record;
  }

  /**
   * Records that a connection is closed.
   * @param successor the connection of the same crawler that has replaced it
   * @internal
   */
  recordDisconnect(connection: SocketConnection, successor?: SocketConnection): void {
    const known = this.#recordOf(connection);
    if (known === undefined) return;
    if (successor !== undefined) this.#ids.set(successor, known.id);
    const connectionId = successor?.id ?? known.connectionId;
    this.#crawlers.replace(known.id, { ...known, connectionId, isConnected: successor !== undefined });
  }

  /**
   * Records a message about a job.
   * @internal
   */
  recordJob(
    id: string,
    connection: SocketConnection,
    update: Partial<JobRecord> & Pick<JobRecord, 'status'>,
  ): JobRecord {
    const noData = { progress: undefined, completed: undefined, failed: undefined };
    // A job that is started again loses its earlier data.
    const before = update.status === 'started' ? undefined : this.#jobs.get(id);
    const known = before?.record ?? noData;
    const record = { ...known, ...update, id, crawler: idOf(connection), updatedAt: new Date() };
    const sizes = { ...before?.sizes, [update.status]: memoryOf(update) };
    const size = Object.values(sizes).reduce((sum, part) => sum + part, memoryOf(id));
    this.#jobs.set(id, { record, sizes }, size);
    return record;
  }

  /** The record of a connection's crawler, unless that has reconnected on another connection. */
  #recordOf(connection: SocketConnection): CrawlerRecord | undefined {
    const record = this.#crawlers.get(this.#ids.get(connection) ?? '');
    return record?.connectionId === connection.id ? record : undefined;
  }
}

function idOf({ id, crawlerId }: SocketConnection): string {
  return crawlerId ?? id;
}
