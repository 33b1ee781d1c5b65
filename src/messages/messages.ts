// The contract: a zod schema for every message on the wire. Rules that compare values are in rules.ts. Extra keys are
// allowed everywhere, so every object is loose.

import * as z from 'zod';
import { OVERFLOW_POLICIES, PEER_ROLES } from './choices.js';
import { TIMESTAMP } from './timestamps.js';

/** The protocol version in `hello` and `welcome`. */
export const PROTOCOL_VERSION = '1.0.0';
/** Maximum bytes of a control message. They are parsed on the main thread, which handles all traffic. */
export const MAX_CONTROL_BYTES = 64 * 1024;

/** A position in the durable log: its epoch and an offset, such as `0123456789abcdef:42`. */
export const POSITION_PATTERN = /^[0-9a-f]{16}:\d{1,15}$/;
/** A position in the messages of a fleet: in the stream of the engine, and of each host. */
export const FLEET_POSITION_PATTERN =
  /^fleet:\d{1,15}:\d{1,15}:(?:[\w-]{1,64}=[0-9a-f]{16}:\d{1,15}(?:,[\w-]{1,64}=[0-9a-f]{16}:\d{1,15})*)?$/;
/** Maximum time for a message of a group, and delay before it is delivered again, in ms: a day. */
export const MAX_ACK_TIME = 86_400_000;
/** Time without an acknowledgement after which the messages of a member of a group go to others, in ms. */
export const DEFAULT_ACK_WAIT = 30_000;
/** Maximum ranges in one `ack`. */
export const MAX_ACK_RANGES = 100;
const position = z.union([z.string().regex(POSITION_PATTERN), z.string().regex(FLEET_POSITION_PATTERN)]);

export const entityType = z.enum([
  'areas',
  'project',
  'group',
  'user',
  'issue',
  'merge_request',
  'commit',
  'branch',
  'pipeline',
  'release',
  'groupMilestones',
  'epics',
  'jobs',
  'mergeRequestNotes',
]);
export const jobType = z.enum(['discover_namespaces', 'crawl_user', 'crawl_group', 'crawl_project']);
export const overflowPolicy = z.enum(OVERFLOW_POLICIES);
export const peerRole = z.enum(PEER_ROLES);
export const presenceEvent = z.enum(['connected', 'gone', 'replaced']);

const counts = z.record(z.string(), z.number());
const resumeState = z.looseObject({
  lastEntityId: z.string().optional(),
  currentPage: z.number().optional(),
  entityType: z.string().optional(),
});
// `z.iso.datetime()` does not allow a pattern, and its own accepts fewer spellings.
const timestamp = new z.ZodISODateTime({
  type: 'string',
  check: 'string_format',
  format: 'datetime',
  offset: true,
  local: true,
  precision: null,
  pattern: TIMESTAMP,
});

const envelope = {
  timestamp,
  jobId: z.string().optional(),
  job_id: z.string().optional(),
};

/** A message from a crawler. */
const fromCrawler = <T extends string, D extends z.ZodRawShape>(type: T, data: D) =>
  z.looseObject({ type: z.literal(type), ...envelope, data: z.looseObject(data) });

/** A message from an application to one or more crawlers, selected by `to`. */
const fromApp = <T extends string, D extends z.ZodRawShape>(type: T, data: D) =>
  z.looseObject({ type: z.literal(type), ...envelope, to: z.string().optional(), data: z.looseObject(data) });

/** A message between a peer and the broker. `timestamp` is optional, since people may type these by hand. */
const control = <T extends string, D extends z.ZodRawShape>(type: T, data: D) =>
  z.looseObject({ type: z.literal(type), timestamp: timestamp.optional(), data: z.looseObject(data) });

const controlWithoutData = <T extends string>(type: T) =>
  z.looseObject({
    type: z.literal(type),
    timestamp: timestamp.optional(),
    data: z.looseObject({}).optional(),
  });

/** Crawler → application: validated, then forwarded to subscribers. */
export const crawlerSchemas = {
  heartbeat: fromCrawler('heartbeat', {
    activeJobs: z.number(),
    totalProcessed: z.number(),
    systemStatus: z.enum(['idle', 'discovering', 'crawling', 'processing', 'error']),
    memoryUsage: z.unknown().optional(),
    uptime: z.number().optional(),
  }),
  job_request: fromCrawler('job_request', { timeout_ms: z.number().optional() }),
  job_started: fromCrawler('job_started', {
    entityType: z.string().optional(),
    entityId: z.string().optional(),
  }),
  job_progress: fromCrawler('job_progress', {
    stage: z.enum(['discovering', 'fetching', 'completed', 'failed']),
    entityType,
    processed: z.number(),
    total: z.number().optional(),
    message: z.string().optional(),
    resumeState: resumeState.optional(),
    itemCounts: counts.optional(),
    currentPage: z.number().optional(),
    processingRate: z.number().optional(),
    estimatedTimeRemaining: z.number().optional(),
  }),
  job_completed: fromCrawler('job_completed', {
    success: z.boolean(),
    finalCounts: counts,
    message: z.string().optional(),
    outputFiles: z.array(z.string()).optional(),
  }),
  job_failed: fromCrawler('job_failed', {
    error: z.string(),
    errorType: z.string().optional(),
    isRecoverable: z.boolean(),
    resumeState: resumeState.optional(),
    partialCounts: counts.optional(),
    stackTrace: z.string().optional(),
    retryCount: z.number().optional(),
    requestDetails: z
      .looseObject({
        method: z.string().optional(),
        url: z.string().optional(),
        status_code: z.number().optional(),
        response_headers: z.record(z.string(), z.string()).optional(),
      })
      .optional(),
    context: z.record(z.string(), z.unknown()).optional(),
  }),
  discovery: fromCrawler('discovery', {
    entityType,
    entities: z.array(
      z.looseObject({
        id: z.string(),
        name: z.string(),
        path: z.string(),
        parentId: z.string().optional(),
      }),
    ),
  }),
  jobs_discovered: fromCrawler('jobs_discovered', {
    discovered_jobs: z.array(
      z.looseObject({
        job_type: jobType,
        entity_id: z.string(),
        namespace_path: z.string(),
        entity_name: z.string(),
        priority: z.number().default(1),
        estimated_size: counts.optional(),
      }),
    ),
    discovery_summary: z.looseObject({
      total_users: z.number().optional(),
      total_groups: z.number().optional(),
      total_projects: z.number().optional(),
      hierarchy_depth: z.number().optional(),
    }),
  }),
  token_refresh_request: fromCrawler('token_refresh_request', {
    current_token_expired: z.boolean().optional(),
    last_successful_request: z.string().optional(),
    error_details: z.string().optional(),
  }),
};

const aboutJob = { job_id: z.string(), reason: z.string().optional() };

/** Application → crawler: validated, then sent to the addressed crawlers. */
export const appSchemas = {
  job_assignment: fromApp('job_assignment', {
    job_id: z.string(),
    job_type: jobType,
    entity_id: z.string().optional(),
    namespace_path: z.string().optional(),
    gitlab_host: z.string(),
    access_token: z.string(),
    priority: z.number().default(1),
    resume: z.boolean().default(false),
  }),
  job_response: fromApp('job_response', {
    jobs: z.array(
      z.looseObject({
        id: z.string(),
        entityType,
        entityId: z.string(),
        gitlabUrl: z.string(),
        accessToken: z.string(),
        resumeState: resumeState.optional(),
      }),
    ),
  }),
  token_refresh_response: fromApp('token_refresh_response', {
    accessToken: z.string(),
    expiresAt: z.string().optional(),
    refreshSuccessful: z.boolean(),
  }),
  shutdown: fromApp('shutdown', {
    graceful: z.boolean().default(true),
    timeout_seconds: z.number().default(30),
    reason: z.string().optional(),
  }),
  job_cancel: fromApp('job_cancel', aboutJob),
  job_pause: fromApp('job_pause', aboutJob),
  job_resume: fromApp('job_resume', aboutJob),
};

/** Peer → broker: handled by the broker, never forwarded. */
export const controlSchemas = {
  hello: control('hello', {
    role: peerRole,
    name: z.string().min(1).max(64).optional(),
    crawlerId: z.string().min(1).max(256).optional(),
    protocolVersion: z.string().max(64).optional(),
    token: z.string().optional(),
    capabilities: z.array(z.string().max(256)).max(64).optional(),
    session: z.string().min(1).max(256).optional(),
  }),
  subscribe: control('subscribe', {
    id: z.string().min(1).max(256),
    types: z.array(z.string().min(1).max(256)).max(256).default(['*']),
    jobIds: z.array(z.string().max(256)).max(256).optional(),
    crawlerIds: z.array(z.string().max(256)).max(256).optional(),
    group: z.string().min(1).max(256).optional(),
    overflow: overflowPolicy.optional(),
    meta: z.boolean().optional(),
    last: z.boolean().optional(),
    from: z
      .union([
        z.enum(['new', 'first']),
        z.looseObject({ offset: position }),
        z.looseObject({ time: timestamp }),
      ])
      .optional(),
    cursor: z.string().min(1).max(256).optional(),
    ack: z.enum(['auto', 'manual']).optional(),
    ackWait: z.int().min(100).max(MAX_ACK_TIME).optional(),
    maxDeliveries: z.int().min(1).max(1000).optional(),
    maxUnacked: z.int().min(1).max(10_000).optional(),
    scope: z.enum(['host', 'fleet']).optional(),
  }),
  unsubscribe: control('unsubscribe', { id: z.string().min(1).max(256) }),
  ack: control('ack', {
    id: z.string().min(1).max(256),
    position,
    done: z
      .array(
        z
          .array(z.int().min(0))
          .length(2)
          .refine(([from = 0, to = 0]) => from < to),
      )
      .max(MAX_ACK_RANGES)
      .optional(),
  }),
  nack: control('nack', {
    id: z.string().min(1).max(256),
    position: z.string().regex(POSITION_PATTERN),
    to: z.string().regex(POSITION_PATTERN).optional(),
    delay: z.int().min(0).max(MAX_ACK_TIME).optional(),
  }),
  ping: controlWithoutData('ping'),
  pong: z.looseObject({
    type: z.literal('pong'),
    timestamp: timestamp.optional(),
    data: z.looseObject({ line: z.number().optional(), rejected: z.number().optional() }).optional(),
  }),
};

/** Broker → peer: messages that a client may receive in addition to those it subscribed to. */
export const brokerSchemas = {
  welcome: control('welcome', {
    connectionId: z.string(),
    protocolVersion: z.string(),
    maxMessageSize: z.number(),
    heartbeatInterval: z.number(),
    heartbeatTimeout: z.number(),
    serverVersion: z.string(),
    durable: z.looseObject({ epoch: z.string() }).optional(),
    session: z.looseObject({ line: z.number() }).optional(),
  }),
  subscribed: control('subscribed', {
    id: z.string(),
    unknownTypes: z.array(z.string()).optional(),
    lastValues: z.number().optional(),
    position: z.string().optional(),
  }),
  unsubscribed: control('unsubscribed', { id: z.string() }),
  position: control('position', { id: z.string(), position: z.string() }),
  gap: control('gap', {
    id: z.string(),
    from: z.string(),
    to: z.string(),
    reason: z.enum(['removed', 'damaged', 'epoch']),
    host: z.string().optional(),
  }),
  error: control('error', {
    code: z.string(),
    message: z.string(),
    messageType: z.string().optional(),
    line: z.number().optional(),
    offset: z.number().optional(),
    issues: z.array(z.looseObject({ path: z.string(), code: z.string(), message: z.string() })).optional(),
  }),
  presence: control('presence', {
    event: presenceEvent,
    host: z.string().optional(),
    connectionId: z.string(),
    crawlerId: z.string().nullable(),
    reason: z.string().optional(),
    jobs: z.array(z.string()),
    jobsTotal: z.number(),
  }),
};

export type EntityType = z.infer<typeof entityType>;
export type JobType = z.infer<typeof jobType>;
export type OverflowPolicy = z.infer<typeof overflowPolicy>;
export type PeerRole = z.infer<typeof peerRole>;

type Messages<S extends Record<string, z.ZodType>> = { [K in keyof S]: z.output<S[K]> };
type MessageInputs<S extends Record<string, z.ZodType>> = { [K in keyof S]: z.input<S[K]> };

/** Messages by type, as parsed: defaults are filled in. */
export type MessageMap = Messages<
  typeof crawlerSchemas & typeof appSchemas & typeof controlSchemas & typeof brokerSchemas
>;
/** Messages by type, as sent: fields with a default are optional. */
export type MessageInputMap = MessageInputs<
  typeof crawlerSchemas & typeof appSchemas & typeof controlSchemas & typeof brokerSchemas
>;
export type CrawlerMessage = MessageMap[keyof typeof crawlerSchemas];
export type AppMessage = MessageMap[keyof typeof appSchemas];
export type ControlMessage = MessageMap[keyof typeof controlSchemas];
export type BrokerMessage = MessageMap[keyof typeof brokerSchemas];
export type Message = CrawlerMessage | AppMessage | ControlMessage | BrokerMessage;

/** A message to send: one of the protocol's, or of a type that a schema module defines. */
export type OutgoingMessage =
  | MessageInputMap[keyof MessageInputMap]
  | { type: string; [key: string]: unknown };
