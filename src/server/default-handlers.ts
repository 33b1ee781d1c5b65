// One handler per crawler message type: it updates the fleet's state and emits an event. These handlers run before an
// application's own, which therefore see the updated state. Messages that are not valid (`validation: "report"`) do neither.

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
    const canHandle = ({ isValid }: EventOf<T>): boolean => isValid;
    router.registerHandler(type, { priority: DEFAULT_HANDLER_PRIORITY, canHandle, handle });
  };
  on('heartbeat', (event) => {
    const { message } = event;
    emit('crawler_heartbeat', { message, crawler: fleet.recordCrawler(event, message.data) });
  });
  on('job_request', (event) => {
    const { message } = event;
    emit('job_requested', { message, crawler: fleet.recordCrawler(event) });
  });
  on('job_started', (event) => {
    const { message } = event;
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(event);
    const job = fleet.recordJob(jobId, event, { status: 'started' });
    emit('job_started', { message, jobId, crawler, job });
  });
  on('job_progress', (event) => {
    const { message } = event;
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(event);
    const job = fleet.recordJob(jobId, event, { status: 'running', progress: message.data });
    emit('job_progress', { message, jobId, crawler, job });
  });
  on('job_completed', (event) => {
    const { message } = event;
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(event);
    const job = fleet.recordJob(jobId, event, { status: 'completed', completed: message.data });
    emit('job_completed', { message, jobId, crawler, job });
  });
  on('job_failed', (event) => {
    const { message } = event;
    const jobId = jobIdOf(message);
    const crawler = fleet.recordCrawler(event);
    const job = fleet.recordJob(jobId, event, { status: 'failed', failed: message.data });
    emit('job_failed', { message, jobId, crawler, job });
  });
  on('discovery', (event) => {
    const { message } = event;
    emit('entities_discovered', { message, crawler: fleet.recordCrawler(event) });
  });
  on('jobs_discovered', (event) => {
    const { message } = event;
    emit('jobs_discovered', {
      message,
      jobId: jobIdOf(message),
      crawler: fleet.recordCrawler(event),
    });
  });
  on('token_refresh_request', (event) => {
    const { message } = event;
    emit('token_refresh_requested', {
      message,
      jobId: jobIdOf(message),
      crawler: fleet.recordCrawler(event),
    });
  });
}

/** The business rules require a job ID in these messages, in the newer or the older spelling. */
function jobIdOf({ jobId, job_id }: { jobId?: string | undefined; job_id?: string | undefined }): string {
  return jobId ?? job_id ?? '';
}
