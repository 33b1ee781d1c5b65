// Valid messages, for tests to send unchanged or modified.

import type { MessageInputMap } from '../messages/messages.js';

const timestamp = '2026-01-01T00:00:00.000Z';

/** One small valid message of each type that crawlers and applications send. */
export const FIXTURES = {
  heartbeat: {
    type: 'heartbeat',
    timestamp,
    data: { activeJobs: 1, totalProcessed: 10, systemStatus: 'crawling', memoryUsage: { rss: 1 }, uptime: 3 },
  },
  job_request: { type: 'job_request', timestamp, data: {} },
  job_started: {
    type: 'job_started',
    timestamp,
    jobId: 'job-1',
    data: { entityType: 'project', entityId: '7' },
  },
  job_progress: {
    type: 'job_progress',
    timestamp,
    jobId: 'job-1',
    data: { stage: 'fetching', entityType: 'issue', processed: 5, total: 10, itemCounts: { issues: 5 } },
  },
  job_completed: {
    type: 'job_completed',
    timestamp,
    jobId: 'job-1',
    data: { success: true, finalCounts: { issues: 10 }, outputFiles: ['a.json'] },
  },
  job_failed: {
    type: 'job_failed',
    timestamp,
    jobId: 'job-1',
    data: { error: 'no', isRecoverable: false, stackTrace: 'Error\n  at x', context: { any: [1] } },
  },
  discovery: {
    type: 'discovery',
    timestamp,
    data: { entityType: 'group', entities: [{ id: '1', name: 'Zoë', path: 'a/b', parentId: '2' }] },
  },
  jobs_discovered: {
    type: 'jobs_discovered',
    timestamp,
    job_id: 'job-1',
    data: {
      discovered_jobs: [{ job_type: 'crawl_user', entity_id: '1', namespace_path: 'a', entity_name: 'A' }],
      discovery_summary: { total_users: 1 },
    },
  },
  token_refresh_request: { type: 'token_refresh_request', timestamp, jobId: 'job-1', data: {} },
  job_assignment: {
    type: 'job_assignment',
    timestamp,
    data: {
      job_id: 'job-1',
      job_type: 'crawl_project',
      gitlab_host: 'https://gitlab.example.com',
      access_token: 'token_here',
    },
  },
  job_response: {
    type: 'job_response',
    timestamp,
    data: {
      jobs: [
        { id: '1', entityType: 'user', entityId: '2', gitlabUrl: 'https://x', accessToken: 'secret-token' },
      ],
    },
  },
  token_refresh_response: {
    type: 'token_refresh_response',
    timestamp,
    jobId: 'job-1',
    data: { accessToken: 'secret-token', refreshSuccessful: true },
  },
  shutdown: { type: 'shutdown', timestamp, data: {} },
  job_cancel: { type: 'job_cancel', timestamp, data: { job_id: 'job-1', reason: 'no longer needed' } },
  job_pause: { type: 'job_pause', timestamp, data: { job_id: 'job-1' } },
  job_resume: { type: 'job_resume', timestamp, data: { job_id: 'job-1' } },
} as const;

/** The types of which there is a valid message. */
export type FixtureType = keyof typeof FIXTURES;

/**
 * A valid message of a type, with the current time.
 *
 * ```ts
 * validMessage('job_progress', { jobId: 'job-7', data: { processed: 3 } });
 * ```
 *
 * @param changes other fields; those of `data` are changed one by one, and `undefined` removes a field
 */
export function validMessage<T extends FixtureType>(
  type: T,
  changes: { readonly data?: object; readonly [field: string]: unknown } = {},
): MessageInputMap[T] {
  const fixture = FIXTURES[type];
  const data = { ...fixture.data, ...changes.data };
  // Safe cast: each fixture is valid, which is tested. What the changes make of it is up to the test.
  return {
    ...fixture,
    timestamp: new Date().toISOString(),
    ...changes,
    data,
  } as unknown as MessageInputMap[T];
}
