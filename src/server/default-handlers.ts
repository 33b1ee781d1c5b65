// One handler per crawler message type: it updates the fleet's state and emits an event. These handlers run before an
// application's own, which therefore see the updated state.

import type { MessageMap } from '../messages/messages.js';
import type { CrawlerRecord, FleetState, JobRecord } from './fleet-state.js';
import type { EventOf } from './handler.js';
import type { MessageRouter } from './message-router.js';

/** Fields of every event of the default handlers. */
export interface FleetEvent<T extends keyof MessageMap> {
  readonly message: MessageMap[T];
  readonly crawler: CrawlerRecord;
}

/** An event about a job. */
export interface JobEvent<T extends keyof MessageMap> extends FleetEvent<T> {
  readonly jobId: string;
}

/** An event about the state of a job. */
export interface JobStateEvent<T extends keyof MessageMap> extends JobEvent<T> {
  readonly job: JobRecord;
}

/** Events of the default handlers, one per message type. */
export interface FleetEvents {
  crawler_heartbeat: [event: FleetEvent<'heartbeat'>];
  /** A crawler requests jobs: answer with `sendToCrawler(event.crawler.id, …)`. */
  job_requested: [event: FleetEvent<'job_request'>];
  job_started: [event: JobStateEvent<'job_started'>];
  job_progress: [event: JobStateEvent<'job_progress'>];
  job_completed: [event: JobStateEvent<'job_completed'>];
  job_failed: [event: JobStateEvent<'job_failed'>];
  entities_discovered: [event: FleetEvent<'discovery'>];
  jobs_discovered: [event: JobEvent<'jobs_discovered'>];
  /** A crawler requests a new token: answer with a `token_refresh_response` for this job. */
  token_refresh_requested: [event: JobEvent<'token_refresh_request'>];
}

/** Priority of the default handlers: higher than any that an application should use. */
export const DEFAULT_HANDLER_PRIORITY = 1000;

/** Registers a handler for each crawler message type. @param emit emits their events */
export function registerDefaultHandlers(
  router: MessageRouter,
  fleet: FleetState,
  emit: <E extends keyof FleetEvents>(name: E, event: FleetEvents[E][0]) => void,
): void {
  const on = <T extends keyof MessageMap>(type: T, handle: (event: EventOf<T>) => void): void => {
    router.registerHandler(type, { priority: DEFAULT_HANDLER_PRIORITY, handle });
  };
  on('heartbeat', ({ message, connection }) => {
    emit('crawler_heartbeat', { message, crawler: fleet.recordCrawler(connection, message.data) });
  });
  on('job_request', ({ message, connection }) => {
    emit('job_requested', { message, crawler: fleet.recordCrawler(connection) });
  });
  on('job_started', ({ message, connection }) => {
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(connection);
    const job = fleet.recordJob(jobId, connection, { status: 'started' });
    emit('job_started', { message, jobId, crawler, job });
  });
  on('job_progress', ({ message, connection }) => {
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(connection);
    const job = fleet.recordJob(jobId, connection, { status: 'running', progress: message.data });
    emit('job_progress', { message, jobId, crawler, job });
  });
  on('job_completed', ({ message, connection }) => {
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(connection);
    const job = fleet.recordJob(jobId, connection, { status: 'completed', completed: message.data });
    emit('job_completed', { message, jobId, crawler, job });
  });
  on('job_failed', ({ message, connection }) => {
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(connection);
    const job = fleet.recordJob(jobId, connection, { status: 'failed', failed: message.data });
    emit('job_failed', { message, jobId, crawler, job });
  });
  on('discovery', ({ message, connection }) => {
    emit('entities_discovered', { message, crawler: fleet.recordCrawler(connection) });
  });
  on('jobs_discovered', ({ message, connection }) => {
    emit('jobs_discovered', {
      message,
      jobId: jobIdOf(message),
      crawler: fleet.recordCrawler(connection),
    });
  });
  on('token_refresh_request', ({ message, connection }) => {
    emit('token_refresh_requested', {
      message,
      jobId: jobIdOf(message),
      crawler: fleet.recordCrawler(connection),
    });
  });
}

/** The business rules require a job ID in these messages, in the newer or the older spelling. */
function jobIdOf({ jobId, job_id }: { jobId?: string | undefined; job_id?: string | undefined }): string {
  return jobId ?? job_id ?? '';
}
