// What the broker does with the messages of a type, besides forwarding them. The only place where it knows types by name:
// the other layers look at these traits.

/** `any`: one crawler, preferably one that waits for a job. `all`: every crawler. `none`: `NO_RECIPIENT`. */
export type FallbackRecipient = 'any' | 'all' | 'none';

export interface MessageTraits {
  /** `data.activeJobs` is the workload of the sender, a crawler. Forwarded no faster than `minHeartbeatInterval`. */
  readonly reportsWorkload: boolean;
  /** The sender, a crawler, waits for a message that `answersJobRequest`, for `data.timeout_ms` if that is set. */
  readonly requestsJob: boolean;
  /** The job that the message is about has ended, successfully or not. */
  readonly endsJob: boolean;
  /** Each crawler that it reaches no longer waits for a job. */
  readonly answersJobRequest: boolean;
  /** `data.job_id` is the job that the message is about, whatever its envelope contains. */
  readonly namesJob: boolean;
  /** Its only recipient becomes the owner of these jobs, and has them to work on in addition to its others. */
  readonly assigns: 'data.job_id' | 'data.jobs[].id' | undefined;
  /**
   * Its recipient if it has no `to`, and the owner of its job is unknown. If the owner is known but not connected, a
   * message with `any` goes to any crawler, and all others have no recipient.
   */
  readonly fallback: FallbackRecipient;
}

/** The traits of all other types, including those of a schema module. */
export const NO_TRAITS: MessageTraits = Object.freeze({
  reportsWorkload: false,
  requestsJob: false,
  endsJob: false,
  answersJobRequest: false,
  namesJob: false,
  assigns: undefined,
  fallback: 'all',
});

/** A message about one job, for the crawler that works on it. */
const ABOUT_ONE_JOB: MessageTraits = { ...NO_TRAITS, namesJob: true, fallback: 'none' };

const TRAITS = new Map<string, MessageTraits>([
  ['heartbeat', { ...NO_TRAITS, reportsWorkload: true }],
  ['job_request', { ...NO_TRAITS, requestsJob: true }],
  ['job_completed', { ...NO_TRAITS, endsJob: true }],
  ['job_failed', { ...NO_TRAITS, endsJob: true }],
  [
    'job_assignment',
    { ...NO_TRAITS, answersJobRequest: true, namesJob: true, assigns: 'data.job_id', fallback: 'any' },
  ],
  ['job_response', { ...NO_TRAITS, answersJobRequest: true, assigns: 'data.jobs[].id', fallback: 'any' }],
  // Contains a token: never sent to a crawler that may not be concerned.
  ['token_refresh_response', { ...NO_TRAITS, fallback: 'none' }],
  ['job_cancel', ABOUT_ONE_JOB],
  ['job_pause', ABOUT_ONE_JOB],
  ['job_resume', ABOUT_ONE_JOB],
]);

/** The traits of a message type, also where a schema module replaces its schema. */
export function traitsOf(name: string): MessageTraits {
  return TRAITS.get(name) ?? NO_TRAITS;
}

/** Maximum number of jobs that one message assigns. A list that is longer is faulty. */
const MAX_ASSIGNED = 1000;

/** The IDs of the jobs that a message assigns, at most 1,000. Its schema may be a schema module's. */
export function assignedJobIds({ assigns }: MessageTraits, message: { readonly data?: unknown }): string[] {
  if (assigns === undefined) return [];
  const { job_id, jobs } = (message.data ?? {}) as { readonly job_id?: unknown; readonly jobs?: unknown };
  if (assigns === 'data.job_id') return typeof job_id === 'string' ? [job_id] : [];
  const listed: readonly unknown[] = Array.isArray(jobs) ? jobs.slice(0, MAX_ASSIGNED) : [];
  return listed
    .map((job) => (job as { readonly id?: unknown } | null)?.id)
    .filter((id) => typeof id === 'string');
}
