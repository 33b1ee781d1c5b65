// The routes of the admin server. All are GET and read-only.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AdminSource } from './admin-source.js';
import { asyncApiDocument } from './asyncapi.js';
import { bearerToken } from './bearer-token.js';
import { isSortColumn, listRows, notableRows, ORDERS, SORT_COLUMNS } from './connection-rows.js';
import { csv } from './csv.js';
import { DASHBOARD_FILES } from './dashboard-files.js';
import { DEAD_LETTER_LIMITS, type DeadLetterStore } from './dead-letter-store.js';
import { EventStream } from './event-stream.js';
import { type History, MAX_MINUTES } from './history.js';
import { schemaEntries } from './json-schemas.js';
import { choiceOf, integerOf, parseListQuery, requireParameters } from './list-query.js';
import { MetricsExporter } from './metrics-exporter.js';
import { ReadLimit } from './read-limit.js';
import { readinessOf } from './readiness.js';
import type { RejectionGroups } from './rejection-groups.js';
import type { RejectionLog } from './rejection-log.js';
import { json, type Reply, RequestError } from './reply.js';
import type { Sample, Sampler } from './sampler.js';
import type { ConnectionDetail, Jobs, Rejections, Snapshot } from './snapshot.js';

export interface Route {
  /** Returns the reply, or `undefined` if it writes the response itself. */
  readonly reply: (
    query: URLSearchParams,
    response: ServerResponse,
    request: IncomingMessage,
  ) => Reply | undefined | Promise<Reply | undefined>;
  /** Sent to the client if `reply` throws. */
  readonly failure: string;
}

export const EVENTS_PATH = '/events';
/** The path of one connection. */
const CONNECTION_PATH = /^\/api\/connections\/([^/]+)$/;
/** Maximum number of subscriptions of a connection that are described. */
const MAX_SUBSCRIPTIONS = 100;
const JOB_COLUMNS = ['jobId', 'state', 'type', 'owner', 'processed', 'total', 'age'] as const;
const DEAD_LETTER_COLUMNS = [
  'id',
  'at',
  'reason',
  'messageType',
  'crawlerId',
  'connectionId',
  'group',
  'position',
  'bytes',
  'isWhole',
] as const;
/** Entries of the drift report in an event: the latest. */
const EVENT_DRIFT = 12;
/** Rows of an event: the peers that do not keep up, and the busiest ones. */
const EVENT_ROWS = 200;
/** Groups of rejected messages in an event: the largest. */
const EVENT_GROUPS = 20;

/** What could not be handled, and where it is kept. */
interface Failures {
  readonly rejections: RejectionLog;
  readonly groups: RejectionGroups;
  readonly deadLetters: DeadLetterStore;
}

export class AdminRoutes {
  readonly #source: AdminSource;
  readonly #sampler: Sampler;
  readonly #history: History;
  readonly #rejections: RejectionLog;
  readonly #groups: RejectionGroups;
  readonly #deadLetters: DeadLetterStore;
  readonly #exporter: MetricsExporter;
  readonly #jobReads = new ReadLimit('jobs');
  readonly #events = new EventStream(() => this.#snapshot());
  /** Cached: these replies are large and do not change while the broker runs. */
  #schemaReply: Reply | undefined;
  #asyncApiReply: Reply | undefined;
  readonly #table: Readonly<Record<string, Route>> = {
    '/metrics': { reply: () => this.#metrics(), failure: 'failed to collect metrics' },
    '/healthz': { reply: () => this.#health(), failure: 'failed to read the state' },
    '/readyz': { reply: () => this.#readiness(), failure: 'failed to determine whether the broker is ready' },
    '/api/stats': {
      reply: () => this.#sampled(({ stats }) => stats),
      failure: 'failed to collect statistics',
    },
    '/api/connections': { reply: (query) => this.#connections(query), failure: 'failed to list connections' },
    '/api/jobs': { reply: (query) => this.#jobs(query), failure: 'failed to list jobs' },
    '/api/dead-letters': {
      reply: (query, _, request) => this.#listDeadLetters(query, request),
      failure: 'failed to read the dead letters',
    },
    '/api/history': { reply: (query) => this.#hour(query), failure: 'failed to read the history' },
    '/api/rejections': {
      reply: () => json(200, this.#rejected()),
      failure: 'failed to list rejected messages',
    },
    '/api/drift': { reply: () => this.#drift(), failure: 'failed to list the drift' },
    '/api/schemas': { reply: () => this.#schemas(), failure: 'failed to generate the JSON Schemas' },
    '/asyncapi.json': { reply: () => this.#asyncApi(), failure: 'failed to generate the AsyncAPI document' },
    [EVENTS_PATH]: {
      reply: (_, response) => this.#streamEvents(response),
      failure: 'failed to start the events',
    },
  };

  constructor(
    source: AdminSource,
    sampler: Sampler,
    history: History,
    { rejections, groups, deadLetters }: Failures,
  ) {
    this.#source = source;
    this.#sampler = sampler;
    this.#history = history;
    this.#rejections = rejections;
    this.#groups = groups;
    this.#deadLetters = deadLetters;
    this.#exporter = new MetricsExporter(source);
  }

  find(path: string): Route | undefined {
    const file = DASHBOARD_FILES.get(path);
    if (file !== undefined) return { reply: () => file, failure: 'failed to read the file' };
    const [, id] = CONNECTION_PATH.exec(path) ?? [];
    if (id !== undefined)
      return { reply: () => this.#connection(id), failure: 'failed to read the connection' };
    return Object.hasOwn(this.#table, path) ? this.#table[path] : undefined;
  }

  /** Ends all event streams. */
  close(): void {
    this.#events.close();
  }

  async #metrics(): Promise<Reply> {
    const body = await this.#exporter.text();
    return { status: 200, body, headers: { 'content-type': this.#exporter.contentType } };
  }

  #health(): Reply {
    return json(200, { status: 'alive', state: this.#source.status().state });
  }

  #readiness(): Reply {
    const readiness = readinessOf(this.#source);
    return json(readiness.ready ? 200 : 503, readiness);
  }

  #connections(query: URLSearchParams): Reply {
    const list = parseListQuery(query, ['sort', 'order']);
    const order = choiceOf(query, 'order', ORDERS);
    const sort = query.get('sort') ?? 'rateIn';
    if (!isSortColumn(sort)) throw new RequestError(400, 'sort: unknown column');
    const sample = this.#sampler.sample();
    if (sample === undefined) return startingReply();
    const found = listRows(sample.rows, sort, order, list);
    return list.format === 'csv' ? csv('connections', SORT_COLUMNS, found.rows) : json(200, found);
  }

  #connection(id: string): Reply {
    const connection = this.#source.pool.get(id);
    if (connection === undefined) throw new RequestError(404, 'no such connection');
    const subscriptions = this.#source.subscriptionsOf(connection);
    const detail: ConnectionDetail = {
      ...this.#sampler.row(connection),
      rejected: connection.rejectedByCode,
      subscriptions: subscriptions.slice(0, MAX_SUBSCRIPTIONS),
      subscriptionsTotal: subscriptions.length,
    };
    return json(200, detail);
  }

  async #jobs(query: URLSearchParams): Promise<Reply> {
    const list = parseListQuery(query);
    if (this.#source.registry() === undefined) return startingReply();
    const found = await this.#jobReads.use(async () => this.#source.jobs(list));
    if (list.format === 'csv') return csv('jobs', JOB_COLUMNS, found?.rows ?? []);
    const none = { total: 0, isComplete: true, rows: [] };
    const jobs: Jobs = { isKept: found !== undefined, ...(found ?? none) };
    return json(200, jobs);
  }

  async #listDeadLetters(query: URLSearchParams, request: IncomingMessage): Promise<Reply> {
    const list = parseListQuery(query, ['group', 'reason'], DEAD_LETTER_LIMITS);
    const found = await this.#deadLetters.list({
      ...list,
      group: query.get('group'),
      reason: query.get('reason'),
      // As in the live tail.
      showsSamples: this.#source.options.feed && this.#source.verifyToken(bearerToken(request)),
    });
    return list.format === 'csv' ? csv('dead-letters', DEAD_LETTER_COLUMNS, found.rows) : json(200, found);
  }

  #hour(query: URLSearchParams): Reply {
    requireParameters(query, ['minutes']);
    return json(200, this.#history.latest(integerOf(query, 'minutes', MAX_MINUTES, 1, MAX_MINUTES)));
  }

  /** @param count maximum number of groups. Default: all. */
  #rejected(count?: number): Rejections {
    return { groups: this.#groups.list().slice(0, count), latest: this.#rejections.latest };
  }

  #drift(): Reply {
    const drift = this.#source.drift();
    return drift === undefined ? startingReply() : json(200, drift);
  }

  #schemas(): Reply {
    const registry = this.#source.registry();
    if (registry === undefined) return startingReply();
    this.#schemaReply ??= json(200, schemaEntries(registry));
    return this.#schemaReply;
  }

  #asyncApi(): Reply {
    const registry = this.#source.registry();
    const { address, version } = this.#source.status();
    if (registry === undefined) return startingReply();
    this.#asyncApiReply ??= json(200, asyncApiDocument(registry, address, version));
    return this.#asyncApiReply;
  }

  #streamEvents(response: ServerResponse): Reply | undefined {
    return this.#events.add(response) ? undefined : json(503, { error: 'too many listeners' });
  }

  #sampled(select: (sample: Sample) => unknown): Reply {
    const sample = this.#sampler.sample();
    return sample === undefined ? startingReply() : json(200, select(sample));
  }

  #snapshot(): Snapshot | undefined {
    const sample = this.#sampler.sample();
    return (
      sample && {
        stats: sample.stats,
        connections: { total: sample.rows.length, rows: notableRows(sample.rows, EVENT_ROWS) },
        rejections: this.#rejected(EVENT_GROUPS),
        drift: this.#source.drift(EVENT_DRIFT) ?? [],
      }
    );
  }
}

function startingReply(): Reply {
  return json(503, { error: 'the broker is starting' });
}
