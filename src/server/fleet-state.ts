// What is known of the crawlers and their jobs, from what they have sent. Bounded, and kept in memory only.

import type { SocketConnection } from '../connection/socket-connection.js';
import { SluiceError } from '../errors.js';
import { LruMap } from '../lru-map.js';
import type { MessageMap } from '../messages/messages.js';
import { memoryOf } from './memory-size.js';

/** A crawler that was heard of. */
export interface CrawlerRecord {
  /** Its crawlerId; where it has said none, its connection id. Good for `sendToCrawler`. */
  readonly id: string;
  readonly connectionId: string;
  readonly isConnected: boolean;
  /** What its latest heartbeat told. */
  readonly heartbeat: MessageMap['heartbeat']['data'] | undefined;
  /** When its latest message was handled. */
  readonly seenAt: Date;
}

/** A job that was heard of. */
export interface JobRecord {
  readonly id: string;
  /** {@link CrawlerRecord.id} of who spoke of it last. */
  readonly crawler: string;
  readonly status: 'started' | 'running' | 'completed' | 'failed';
  readonly progress: MessageMap['job_progress']['data'] | undefined;
  readonly completed: MessageMap['job_completed']['data'] | undefined;
  readonly failed: MessageMap['job_failed']['data'] | undefined;
  /** When its latest message was handled. */
  readonly updatedAt: Date;
}

/** How much a {@link FleetState} remembers. */
export interface FleetLimits {
  /** Crawlers; default 10,000. The one that was silent for the longest time is forgotten first. */
  readonly maxCrawlers?: number | undefined;
  /** Jobs; default 10,000. The one that was not heard of for the longest time is forgotten first. */
  readonly maxJobs?: number | undefined;
  /**
   * Estimated memory of all crawlers, and of all jobs, in bytes; default 64 MiB each. Where more would be taken, those
   * not heard of for the longest time are forgotten, but never the latest.
   */
  readonly maxFleetBytes?: number | undefined;
}

const DEFAULT_CAPACITY = 10_000;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

/** A job, and the estimated memory of what it was told by each kind of message, in bytes. */
interface WeighedJob {
  readonly record: JobRecord;
  readonly weights: Readonly<Partial<Record<JobRecord['status'], number>>>;
}

export class FleetState {
  readonly #crawlers: LruMap<string, CrawlerRecord>;
  readonly #jobs: LruMap<string, WeighedJob>;

  /** By which name each connection's crawler is known. */
  readonly #names = new WeakMap<SocketConnection, string>();

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

  /** Crawlers, the one heard of last at the end. */
  get crawlers(): CrawlerRecord[] {
    return this.#crawlers.values();
  }

  /** Jobs, the one heard of last at the end. */
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
   * A crawler has sent something.
   * @internal
   */
  recordCrawler(connection: SocketConnection, heartbeat?: MessageMap['heartbeat']['data']): CrawlerRecord {
    const id = nameOf(connection);
    const before = this.#recordOf(connection);
    // It has said who it is in the meantime: it is not two crawlers for that.
    if (before !== undefined && before.id !== id) this.#crawlers.delete(before.id);
    this.#names.set(connection, id);
    const record: CrawlerRecord = {
      id,
      connectionId: connection.id,
      // What it has sent may be handled after it has gone.
      isConnected: connection.isOpen,
      heartbeat: heartbeat ?? (this.#crawlers.get(id) ?? before)?.heartbeat,
      seenAt: new Date(),
    };
    this.#crawlers.set(id, record, memoryOf(record));
    return record;
  }

  /**
   * A connection has gone.
   * @internal
   */
  recordGone(connection: SocketConnection): void {
    const known = this.#recordOf(connection);
    if (known !== undefined) this.#crawlers.replace(known.id, { ...known, isConnected: false });
  }

  /**
   * A crawler has spoken of a job.
   * @internal
   */
  recordJob(
    id: string,
    connection: SocketConnection,
    news: Partial<JobRecord> & Pick<JobRecord, 'status'>,
  ): JobRecord {
    const nothing = { progress: undefined, completed: undefined, failed: undefined };
    // A job that starts again starts afresh.
    const before = news.status === 'started' ? undefined : this.#jobs.get(id);
    const known = before?.record ?? nothing;
    const record = { ...known, ...news, id, crawler: nameOf(connection), updatedAt: new Date() };
    const weights = { ...before?.weights, [news.status]: memoryOf(news) };
    const weight = Object.values(weights).reduce((sum, part) => sum + part, memoryOf(id));
    this.#jobs.set(id, { record, weights }, weight);
    return record;
  }

  /** What is known of a connection's crawler, unless that has come back on another connection. */
  #recordOf(connection: SocketConnection): CrawlerRecord | undefined {
    const record = this.#crawlers.get(this.#names.get(connection) ?? '');
    return record?.connectionId === connection.id ? record : undefined;
  }
}

function nameOf({ id, crawlerId }: SocketConnection): string {
  return crawlerId ?? id;
}
