// A job queue that loses nothing: it answers each job request with up to five jobs, and gives a job to another crawler if
// the one that has it fails or is gone. The jobs are in a database, and what crawlers report is in the durable log until it
// is there too: the queue may be killed at any moment.
//
//   node examples/job-queue.mjs              # with five sample jobs
//   node examples/job-queue.mjs jobs.json    # [{ "entityType": "group", "entityId": "1" }]
//   node examples/crawler.mjs                # in another terminal: a crawler that processes the jobs
//   kill -USR1 PID                           # cancels the jobs that are in progress
//
// Crawlers connect to SLUICE_SOCKET_PATH (default: Sluice's default path) and crawl GITLAB_HOST. DATA_FOLDER keeps the jobs
// (default: a temporary folder).

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SOCKET_CONFIG, SocketServer } from 'sluice';
import { entityType as entityTypes } from 'sluice/messages';
import { openStore } from './job-store.mjs';

const MAX_TRIES = Number(process.env.MAX_TRIES ?? 3);
const MAX_JOBS = 5;
/** How long a crawler may be away before its jobs are given to others, in ms. */
const LEASE = Number(process.env.LEASE ?? 10_000);
/** How long a job waits after its first failure, in ms; doubles with each. */
const RETRY_DELAY = Number(process.env.RETRY_DELAY ?? 1000);
/** How long a token is valid, in ms. */
const TOKEN_LIFETIME = 60 * 60 * 1000;
const GITLAB_HOST = process.env.GITLAB_HOST ?? 'https://gitlab.example.com';
/** What a discovered job crawls, by its job type. */
const DISCOVERED = {
  discover_namespaces: 'areas',
  crawl_user: 'user',
  crawl_group: 'group',
  crawl_project: 'project',
};

const folder = process.env.DATA_FOLDER ?? mkdtempSync(join(tmpdir(), 'sluice-jobs-'));
mkdirSync(folder, { recursive: true });
const store = await openStore(join(folder, 'jobs'));
const server = new SocketServer({ ...SOCKET_CONFIG, logLevel: 'warn', log: join(folder, 'log') });
/** IDs of crawlers that are waiting for jobs. */
const waiting = new Set();
/** By crawler: gives its jobs to others. */
const leases = new Map();

/** Adds a job, unless there is one with this ID: a message may be handled again after a crash. */
function add(id, { entityType, entityId }) {
  // One invalid job would make a whole response invalid.
  if (entityTypes.safeParse(entityType).success && typeof entityId === 'string')
    store.add({ id, entityType, entityId, state: 'queued', tries: 0, notBefore: 0 });
  else console.error(`${id} dropped: invalid entityType or entityId`);
}

/** A real application would request a token from GitLab, or from its own vault. */
async function issueToken() {
  return `token-${randomBytes(12).toString('hex')}`;
}

/** Sends jobs to each waiting crawler, while there are any. */
async function assign() {
  for (const crawler of waiting) {
    const connection = server.manager.getConnectionPool().getCrawler(crawler)?.id ?? crawler;
    const jobs = store.take(MAX_JOBS, { crawler, connection }, Date.now());
    if (jobs.length === 0) return;
    waiting.delete(crawler);
    const accessToken = await issueToken();
    try {
      await server.sendToCrawler(crawler, {
        type: 'job_response',
        timestamp: new Date().toISOString(),
        data: {
          jobs: jobs.map(({ id, entityType, entityId, resumeState }) => {
            return { id, entityType, entityId, gitlabUrl: GITLAB_HOST, accessToken, resumeState };
          }),
        },
      });
      console.log(`${jobs.map(({ id }) => id).join(', ')} to ${crawler}`);
    } catch ({ code }) {
      // The crawler may have got the jobs, or may still get them: they are its own until it is gone.
      if (code === 'SEND_TIMEOUT' || code === 'CONNECTION_CLOSED') continue;
      // Nothing was sent. That was no attempt.
      for (const job of jobs)
        if (jobOf(job.id, crawler)) store.set(job.id, { ...job, state: 'queued', tries: job.tries - 1 });
    }
  }
}

/**
 * Lets a job wait for another attempt.
 * @param resumeState where the next crawler continues. Default: the previous one.
 * @param delay in ms
 */
function requeue(job, delay, resumeState = job.resumeState) {
  const isLast = job.tries >= MAX_TRIES;
  if (isLast) console.log(`${job.id} given up`);
  const state = isLast ? 'failed' : 'queued';
  store.set(job.id, { ...job, state, crawler: undefined, resumeState, notBefore: Date.now() + delay });
  if (!isLast) setTimeout(assign, delay).unref();
}

/** The job that a crawler reports about, if it is still that crawler's. */
function jobOf(jobId, crawler) {
  const job = store.get(jobId);
  return job?.state === 'assigned' && job.crawler === crawler ? job : undefined;
}

// What crawlers report comes from the durable log. A message that is handled again, after a crash, changes nothing.
server.registerDurableHandler({
  cursor: 'jobs',
  from: 'first',
  types: ['job_request', 'job_completed', 'job_failed', 'jobs_discovered'],
  handle({ type, message: { jobId, job_id, data }, crawlerId, connectionId }) {
    const id = jobId ?? job_id;
    const crawler = crawlerId ?? connectionId;
    if (type === 'job_request') {
      // It has been started again, and does not know of the jobs that it had, or it has never got them.
      for (const job of store.of(crawler)) if (job.connection !== connectionId) requeue(job, 0);
      waiting.add(crawler);
      return assign();
    }
    if (type === 'jobs_discovered') {
      for (const { job_type, entity_id } of data.discovered_jobs)
        add(`${id}-${DISCOVERED[job_type]}-${entity_id}`, {
          entityType: DISCOVERED[job_type],
          entityId: entity_id,
        });
      return assign();
    }
    const job = jobOf(id, crawler);
    if (job === undefined) return;
    if (type === 'job_completed') {
      store.set(id, { ...job, state: 'done' });
      console.log(`${id} done: ${JSON.stringify(data.finalCounts)}`);
    } else {
      console.log(`${id} failed: ${data.errorType ?? 'no type'}`);
      if (data.isRecoverable) requeue(job, RETRY_DELAY * 2 ** (job.tries - 1), data.resumeState);
      else store.set(id, { ...job, state: 'failed' });
    }
  },
});

server.router.registerHandler('token_refresh_request', async ({ message }, { reply }) => {
  await reply({
    type: 'token_refresh_response',
    timestamp: new Date().toISOString(),
    jobId: message.jobId,
    data: {
      accessToken: await issueToken(),
      // Without it, crawlers consider the refresh failed.
      expiresAt: new Date(Date.now() + TOKEN_LIFETIME).toISOString(),
      refreshSuccessful: true,
    },
  });
  console.log(`${message.jobId} has a new token`);
});

/** Gives the jobs of a crawler that is away to others, unless it comes back in time. */
function startLease(crawler) {
  clearTimeout(leases.get(crawler));
  const lease = setTimeout(() => {
    leases.delete(crawler);
    for (const job of store.of(crawler)) requeue(job, 0);
  }, LEASE);
  leases.set(crawler, lease);
}

server.manager.on('presence', ({ event, connection }) => {
  const crawler = connection.crawlerId ?? connection.id;
  if (event === 'connected') {
    clearTimeout(leases.get(crawler));
    leases.delete(crawler);
  } else if (event === 'gone') {
    waiting.delete(crawler);
    // Without a crawler ID, nobody can come back.
    if (connection.crawlerId === undefined) for (const job of store.of(crawler)) requeue(job, 0);
    else startLease(crawler);
  }
});
server.on('handler_error', ({ phase, error }) => console.error(`${phase} failed: ${error?.message}`));

/** Tells crawlers to stop what they are doing. */
async function cancelAll() {
  for (const job of store.assigned()) {
    store.set(job.id, { ...job, state: 'failed' });
    const data = { job_id: job.id, reason: 'cancelled by the operator' };
    const cancel = { type: 'job_cancel', timestamp: new Date().toISOString(), data };
    await server.sendToCrawler(job.crawler, cancel).catch(() => {});
    console.log(`${job.id} cancelled`);
  }
}

const file = process.argv[2];
const jobs = file
  ? JSON.parse(readFileSync(file, 'utf8'))
  : [1, 2, 3, 4, 5].map((n) => ({ entityType: 'project', entityId: String(n) }));
for (const [index, job] of jobs.entries()) add(`job-${String(index + 1).padStart(4, '0')}`, job);
// Crawlers that had jobs when the queue was killed may come back.
for (const crawler of new Set(store.assigned().map((job) => job.crawler))) startLease(crawler);

await server.start();
console.log(`${store.count('queued')} jobs, crawlers: ${server.getStatus().address}`);
process.on('SIGUSR1', cancelAll);
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    for (const lease of leases.values()) clearTimeout(lease);
    await server.stop();
    process.exit();
  });
}
