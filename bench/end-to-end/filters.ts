// What subscribers select. Sluice selects by the content of messages; the other brokers by a subject, channel or topic,
// here called topic, that publishers name with each message.

import { type Content, jobIdOf, jobsOf, type Message } from './content.js';

/** What subscriptions select by: a job ID, a crawler ID or a message type. */
export type Filter = 'job' | 'crawler' | 'type';

export interface Subscription {
  readonly topic: string;
  /** Keys of Sluice's `subscribe`. */
  readonly filter: {
    readonly jobIds?: readonly string[];
    readonly crawlerIds?: readonly string[];
    readonly types?: readonly string[];
  };
  /** Subscribers with the same group share the messages. */
  readonly group?: string;
}

/** The topic of all messages, if subscribers do not filter. */
export const TOPIC = 'c';
export const EVERYTHING: Subscription = { topic: TOPIC, filter: {} };
export const SHARED: Subscription = { ...EVERYTHING, group: 'g' };

/** The topic of messages without a job. Nobody subscribes to it. */
const NO_JOB = 'none';
/** From the most to the least frequent one. Nobody sends the last three. */
const TYPES = [
  ...[
    'job_progress',
    'heartbeat',
    'job_completed',
    'jobs_discovered',
    'discovery',
    'job_started',
    'job_failed',
  ],
  ...['job_request', 'token_refresh_request', 'page_fetched'],
];

export function crawlerIdOf(publisher: number): string {
  return `crawler-${String(publisher).padStart(5, '0')}`;
}

/** The topic of a message, if subscribers filter by job, crawler or type, or not at all. */
export function topicOf(
  filter: Filter | undefined,
  { jobId, type }: Pick<Message, 'jobId' | 'type'>,
  publisher: number,
): string {
  switch (filter) {
    case undefined:
      return TOPIC;
    case 'job':
      return jobId ?? NO_JOB;
    case 'crawler':
      return crawlerIdOf(publisher);
    case 'type':
      return type;
  }
}

/**
 * Subscriptions with a filter. No message matches two of them.
 * @param first the first publisher; those by job are evenly distributed over the publishers
 */
export function subscriptionsOf(
  filter: Filter,
  count: number,
  content: Content,
  publishers: number,
  first = 0,
): Subscription[] {
  return Array.from({ length: count }, (_, index) => {
    if (filter === 'job') {
      const jobId = jobIdOf(index % publishers, publishers, Math.floor(index / publishers));
      if (Math.floor(index / publishers) >= jobsOf(content, index % publishers, publishers)) {
        throw new Error(`there are fewer than ${count} jobs`);
      }
      return { topic: jobId, filter: { jobIds: [jobId] } };
    }
    if (filter === 'crawler') {
      const crawlerId = crawlerIdOf(first + index);
      return { topic: crawlerId, filter: { crawlerIds: [crawlerId] } };
    }
    const type = TYPES[index];
    if (type === undefined) throw new Error(`there are only ${TYPES.length} types`);
    return { topic: type, filter: { types: [type] } };
  });
}
