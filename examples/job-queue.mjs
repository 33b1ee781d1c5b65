// A job queue: answers each job request with up to five jobs, requeues failed jobs, and refreshes tokens.
//
//   node examples/job-queue.mjs              # with five sample jobs
//   node examples/job-queue.mjs jobs.json    # [{ "entityType": "group", "entityId": "1" }]
//   node examples/crawler.mjs                # in another terminal: a crawler that processes the jobs
//
// Crawlers connect to SLUICE_SOCKET_PATH (default: Sluice's default path) and crawl GITLAB_HOST.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SOCKET_CONFIG, SocketServer } from 'sluice';
import { entityType as entityTypes } from 'sluice/messages';

const MAX_TRIES = 3;
const MAX_JOBS = 5;
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

/** Unassigned jobs by id, in queue order. */
const queue = new Map();
/** Jobs in progress, by id. */
const assigned = new Map();
/** IDs of crawlers that are waiting for jobs. */
const waiting = new Set();
let nextId = 1;

function add({ entityType, entityId }) {
  const id = `job-${String(nextId++).padStart(4, '0')}`;
  // One invalid job would make a whole response invalid.
  if (entityTypes.safeParse(entityType).success && typeof entityId === 'string') {
    queue.set(id, { id, entityType, entityId, tries: 0 });
  } else console.error(`${id} dropped: invalid entityType or entityId`);
}

/** A real application would request a token from GitLab, or from its own vault. */
async function issueToken() {
  return `token-${randomBytes(12).toString('hex')}`;
}

const server = new SocketServer({ ...SOCKET_CONFIG, logLevel: 'warn' });

/** Sends jobs to each waiting crawler, while there are any. */
async function assign() {
  for (const crawler of waiting) {
    const jobs = [...queue.values()].slice(0, MAX_JOBS);
    if (jobs.length === 0) return;
    waiting.delete(crawler);
    for (const job of jobs) {
      queue.delete(job.id);
      assigned.set(job.id, { ...job, crawler, tries: job.tries + 1 });
    }
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
    } catch {
      // The crawler has disconnected.
      for (const { id } of jobs) requeue(id);
    }
  }
}

/** @param resumeState where the next crawler continues. Default: the previous one. */
function requeue(id, resumeState = assigned.get(id)?.resumeState) {
  const job = assigned.get(id);
  if (!assigned.delete(id)) return;
  if (job.tries < MAX_TRIES) queue.set(id, { ...job, resumeState });
  else console.log(`${id} given up`);
}

server.on('job_requested', ({ crawler }) => {
  waiting.add(crawler.id);
});
server.on('job_completed', ({ jobId, message }) => {
  if (assigned.delete(jobId)) console.log(`${jobId} done: ${JSON.stringify(message.data.finalCounts)}`);
});
server.on('job_failed', ({ jobId, message }) => {
  if (!assigned.has(jobId)) return;
  console.log(`${jobId} failed: ${message.data.errorType ?? 'no type'}`);
  if (message.data.isRecoverable) requeue(jobId, message.data.resumeState);
  else assigned.delete(jobId);
});
server.on('jobs_discovered', ({ message }) => {
  for (const { job_type, entity_id } of message.data.discovered_jobs) {
    add({ entityType: DISCOVERED[job_type], entityId: entity_id });
  }
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
// Each of these may add a job or a waiting crawler. This handler runs after the listeners above, which record it.
for (const type of ['job_request', 'job_failed', 'jobs_discovered']) {
  server.router.registerHandler(type, assign);
}
server.manager.on('connection_removed', ({ connection }) => {
  const crawler = connection.crawlerId ?? connection.id;
  if (server.fleet.getCrawler(crawler)?.isConnected) return;
  waiting.delete(crawler);
  for (const job of assigned.values()) if (job.crawler === crawler) requeue(job.id);
  assign();
});
server.on('handler_error', ({ phase, event }) => console.error(`${phase} of ${event?.type} failed`));

const file = process.argv[2];
const jobs = file
  ? JSON.parse(readFileSync(file, 'utf8'))
  : [1, 2, 3, 4, 5].map((n) => ({ entityType: 'project', entityId: String(n) }));
for (const job of jobs) add(job);

await server.start();
console.log(`${queue.size} jobs, crawlers: ${server.getStatus().address}`);
process.once('SIGTERM', () => server.stop());
process.once('SIGINT', () => server.stop());
