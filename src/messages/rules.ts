// Business rules, which the zod schemas do not express. They run after the schema has accepted the message, so they may
// rely on the types of its input: defaults and transformations are not applied.

import { type DeclarativeRules, MIN_JOB_ID_LENGTH } from './declarative-rules.js';
import type { ReportIssue, Rule } from './issues.js';
import type { MessageInputMap } from './messages.js';

const MIN_TOKEN_LENGTH = 10;

/** Rules for messages from crawlers: declarative, so that patterns can check them too. */
export const declarativeRules: { readonly [K in keyof MessageInputMap]?: DeclarativeRules } = {
  heartbeat: {
    integer: ['data.activeJobs', 'data.totalProcessed'],
    notNegative: ['data.activeJobs', 'data.totalProcessed'],
  },
  job_started: { needsJobId: true },
  job_progress: {
    needsJobId: true,
    notNegative: ['data.processed', 'data.total', 'data.itemCounts'],
    withinTotal: [['data.processed', 'data.total']],
  },
  job_completed: { needsJobId: true, notNegative: ['data.finalCounts'] },
  job_failed: { needsJobId: true },
  jobs_discovered: { needsJobId: true },
  token_refresh_request: { needsJobId: true },
};

/** Rules for messages from applications. */
export const rules: { readonly [K in keyof MessageInputMap]?: Rule<MessageInputMap[K]> } = {
  job_assignment({ data }, report) {
    checkJobId(data, report);
    if (data.access_token.length < MIN_TOKEN_LENGTH) {
      report('data.access_token', 'token_short', `must have at least ${MIN_TOKEN_LENGTH} characters`);
    }
    const host = URL.canParse(data.gitlab_host) ? new URL(data.gitlab_host) : undefined;
    if (host?.protocol !== 'http:' && host?.protocol !== 'https:') {
      report('data.gitlab_host', 'not_http_url', 'must be an http or https URL');
    }
  },
  token_refresh_response({ data }, report) {
    if (data.refreshSuccessful && data.accessToken === '') {
      report('data.accessToken', 'token_empty', 'must not be empty after a successful refresh');
    }
  },
  shutdown({ data }, report) {
    if ((data.timeout_seconds ?? 0) < 0) report('data.timeout_seconds', 'negative', 'must not be negative');
  },
  job_cancel: ({ data }, report) => checkJobId(data, report),
  job_pause: ({ data }, report) => checkJobId(data, report),
  job_resume: ({ data }, report) => checkJobId(data, report),
};

function checkJobId({ job_id }: { readonly job_id: string }, report: ReportIssue): void {
  if (job_id.length >= MIN_JOB_ID_LENGTH) return;
  report('data.job_id', 'job_id_short', `must have at least ${MIN_JOB_ID_LENGTH} characters`);
}
