// A job queue: assigns one job to each crawler that requests one, requeues failed jobs, and refreshes tokens.
//
//   node examples/job-queue.mjs              # with five sample jobs
//   node examples/job-queue.mjs jobs.json    # [{ "job_type": "crawl_group", "entity_id": "1", "namespace_path": "a" }]
//   node examples/crawler.mjs                # in another terminal: a crawler that processes the jobs
//
// Crawlers connect to SOCKET_PATH (default: Sluice's default path) and crawl GITLAB_HOST.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SOCKET_CONFIG, SocketServer } from 'sluice';

const MAX_TRIES = 3;
const GITLAB_HOST = process.env.GITLAB_HOST ?? 'https://gitlab.example.com';

/** Unassigned jobs by id, in queue order. */
const queue = new Map();
/** Jobs in progress, by id. */
const assigned = new Map();
/** IDs of crawlers that are waiting for a job. */
const waiting = new Set();
let nextId = 1;

function add(job) {
  const id = `job-${String(nextId++).padStart(4, '0')}`;
  queue.set(id, { ...job, id, tries: 0 });
}

/** A real application would request a token from GitLab, or from its own vault. */
async function issueToken() {
  return `token-${randomBytes(12).toString('hex')}`;
}

const server = new SocketServer({ ...SOCKET_CONFIG, logLevel: 'warn' });

/** Assigns one job to each waiting crawler, while there are jobs. */
async function assign() {
  for (const crawler of waiting) {
    const job = queue.values().next().value;
    if (job === undefined) return;
    waiting.delete(crawler);
    queue.delete(job.id);
    assigned.set(job.id, { ...job, crawler, tries: job.tries + 1 });
    try {
      await server.sendToCrawler(crawler, {
        type: 'job_assignment',
        timestamp: new Date().toISOString(),
        data: {
          job_id: job.id,
          job_type: job.job_type,
          entity_id: job.entity_id,
          namespace_path: job.namespace_path,
          gitlab_host: GITLAB_HOST,
          access_token: await issueToken(),
          resume: job.tries > 0,
        },
      });
      console.log(`${job.id} to ${crawler}`);
    } catch (error) {
      if (error.code === 'INVALID_MESSAGE') {
        // The crawler is still waiting. The error text names the invalid field, never its value.
        console.error(`${job.id} dropped: ${error.message}`);
        assigned.delete(job.id);
        waiting.add(crawler);
      } else {
        // The crawler has disconnected.
        requeue(job.id);
      }
    }
  }
}

function requeue(id) {
  const job = assigned.get(id);
  if (!assigned.delete(id)) return;
  if (job.tries < MAX_TRIES) queue.set(id, job);
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
  if (message.data.isRecoverable) requeue(jobId);
  else assigned.delete(jobId);
});
server.on('jobs_discovered', ({ message }) => {
  for (const { job_type, entity_id, namespace_path } of message.data.discovered_jobs) {
    add({ job_type, entity_id, namespace_path });
  }
});
server.router.registerHandler('token_refresh_request', async ({ message }, { reply }) => {
  await reply({
    type: 'token_refresh_response',
    timestamp: new Date().toISOString(),
    jobId: message.jobId,
    data: { accessToken: await issueToken(), refreshSuccessful: true },
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
  : [1, 2, 3, 4, 5].map((n) => ({
      job_type: 'crawl_project',
      entity_id: String(n),
      namespace_path: `demo/${n}`,
    }));
for (const job of jobs) add(job);

await server.start();
console.log(`${queue.size} jobs, crawlers: ${server.getStatus().address}`);
process.once('SIGTERM', () => server.stop());
process.once('SIGINT', () => server.stop());
