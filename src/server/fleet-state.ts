// What is known of the crawlers and their jobs, from what they have sent. Bounded, and kept in memory only.

import type { SocketConnection } from '../connection/socket-connection.js';
import type { MessageMap } from '../protocol/messages.js';
import { RecentMap } from './recent-map.js';

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
}

const DEFAULT_CAPACITY = 10_000;

export class FleetState {
  readonly #crawlers: RecentMap<string, CrawlerRecord>;
  readonly #jobs: RecentMap<string, JobRecord>;

  constructor({ maxCrawlers = DEFAULT_CAPACITY, maxJobs = DEFAULT_CAPACITY }: FleetLimits = {}) {
    this.#crawlers = new RecentMap(maxCrawlers);
    this.#jobs = new RecentMap(maxJobs);
  }

  /** Crawlers, the one heard of last at the end. */
  get crawlers(): CrawlerRecord[] {
    return this.#crawlers.values();
  }

  /** Jobs, the one heard of last at the end. */
  get jobs(): JobRecord[] {
    return this.#jobs.values();
  }

  getCrawler(id: string): CrawlerRecord | undefined {
    return this.#crawlers.get(id);
  }

  getJob(id: string): JobRecord | undefined {
    return this.#jobs.get(id);
  }

  /** A crawler has sent something. */
  noteCrawler(connection: SocketConnection, heartbeat?: MessageMap['heartbeat']['data']): CrawlerRecord {
    const id = nameOf(connection);
    const record: CrawlerRecord = {
      id,
      connectionId: connection.id,
      // What it has sent may be handled after it has gone.
      isConnected: connection.isOpen,
      heartbeat: heartbeat ?? this.#crawlers.get(id)?.heartbeat,
      seenAt: new Date(),
    };
    this.#crawlers.set(id, record);
    return record;
  }

  /** A connection has gone. */
  noteGone(connection: SocketConnection): void {
    const known = this.#crawlers.get(nameOf(connection));
    // Its crawler may have come back on another connection already.
    if (known?.connectionId === connection.id) this.#crawlers.set(known.id, { ...known, isConnected: false });
  }

  /** A crawler has spoken of a job. */
  noteJob(
    id: string,
    connection: SocketConnection,
    news: Partial<JobRecord> & Pick<JobRecord, 'status'>,
  ): JobRecord {
    const nothing = { progress: undefined, completed: undefined, failed: undefined };
    // A job that starts again starts afresh.
    const known = news.status === 'started' ? nothing : (this.#jobs.get(id) ?? nothing);
    const record = { ...known, ...news, id, crawler: nameOf(connection), updatedAt: new Date() };
    this.#jobs.set(id, record);
    return record;
  }
}

function nameOf({ id, crawlerId }: SocketConnection): string {
  return crawlerId ?? id;
}
