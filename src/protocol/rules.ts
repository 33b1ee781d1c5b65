// The business rules: what a zod schema of types cannot say, one function a message type.
// They run after the schema has accepted the message, so they may trust its types.

import type { MessageInputMap } from './messages.js';

/** One thing wrong with a message. Never holds a value of the message. */
export interface Issue {
  /** Where, as `data.entities[3].id`; empty for the message as a whole. */
  path: string;
  code: string;
  message: string;
}

/** Notes one broken rule. `path` is dotted, from the message's top. */
export type ReportIssue = (path: string, code: string, message: string) => void;

/** A business rule: calls `report` once for each thing that is wrong. Must not change the message. */
export type Rule<M = never> = (message: M, report: ReportIssue) => void;

interface Envelope {
  jobId?: string | undefined;
  job_id?: string | undefined;
}

const MIN_JOB_ID_LENGTH = 3;
const MIN_TOKEN_LENGTH = 10;

function jobIdNeeded(message: Envelope, report: ReportIssue): void {
  const jobId = message.jobId ?? message.job_id;
  if (jobId === undefined) report('jobId', 'job_id_missing', 'a jobId is needed');
  else if (jobId.length < MIN_JOB_ID_LENGTH) shortJobId('jobId', report);
}

function shortJobId(path: string, report: ReportIssue): void {
  report(path, 'job_id_short', `must have at least ${MIN_JOB_ID_LENGTH} characters`);
}

function notNegative(value: number | undefined, path: string, report: ReportIssue): void {
  if (value !== undefined && value < 0) report(path, 'negative', 'must not be negative');
}

function natural(value: number, path: string, report: ReportIssue): void {
  if (!Number.isInteger(value)) report(path, 'not_integer', 'must be an integer');
  notNegative(value, path, report);
}

function countsNotNegative(
  counts: Record<string, number> | undefined,
  path: string,
  report: ReportIssue,
): void {
  for (const name in counts) {
    const count = counts[name];
    if (count !== undefined && count < 0) return report(path, 'negative', 'counts must not be negative');
  }
}

function httpUrl(value: string, path: string, report: ReportIssue): void {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    report(path, 'not_http_url', 'must be an http or https URL');
  }
}

/** The rules of the built-in message types. */
export const rules: { readonly [K in keyof MessageInputMap]?: Rule<MessageInputMap[K]> } = {
  heartbeat({ data }, report) {
    natural(data.activeJobs, 'data.activeJobs', report);
    natural(data.totalProcessed, 'data.totalProcessed', report);
  },
  job_started: jobIdNeeded,
  job_progress(message, report) {
    const { processed, total, itemCounts } = message.data;
    jobIdNeeded(message, report);
    notNegative(processed, 'data.processed', report);
    notNegative(total, 'data.total', report);
    countsNotNegative(itemCounts, 'data.itemCounts', report);
    if (total !== undefined && processed > total) {
      report('data.processed', 'processed_over_total', 'must not be greater than total');
    }
  },
  job_completed(message, report) {
    jobIdNeeded(message, report);
    countsNotNegative(message.data.finalCounts, 'data.finalCounts', report);
  },
  job_failed: jobIdNeeded,
  jobs_discovered: jobIdNeeded,
  token_refresh_request: jobIdNeeded,
  job_assignment({ data }, report) {
    if (data.job_id.length < MIN_JOB_ID_LENGTH) shortJobId('data.job_id', report);
    if (data.access_token.length < MIN_TOKEN_LENGTH) {
      report('data.access_token', 'token_short', `must have at least ${MIN_TOKEN_LENGTH} characters`);
    }
    httpUrl(data.gitlab_host, 'data.gitlab_host', report);
  },
  token_refresh_response({ data }, report) {
    if (data.refreshSuccessful && data.accessToken === '') {
      report('data.accessToken', 'token_empty', 'must not be empty after a successful refresh');
    }
  },
  shutdown({ data }, report) {
    notNegative(data.timeout_seconds, 'data.timeout_seconds', report);
  },
};
