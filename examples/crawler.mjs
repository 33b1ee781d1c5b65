// A crawler for examples/job-queue.mjs, built with `sluice/client`: it requests jobs and reports progress; the client
// sends heartbeats automatically. The work is simulated.
//
//   node examples/crawler.mjs [NAME]     # SLUICE_SOCKET_PATH: the server's socket (default: Sluice's default path)

import { setTimeout as sleep } from 'node:timers/promises';
import { SluiceClient } from 'sluice/client';

const PAGES = 3;
const PAGE_SIZE = 20;
const DELAY = Number(process.env.PAGE_DELAY ?? 200);

let activeJobs = 0;
let totalProcessed = 0;
const client = new SluiceClient({
  socketPath: process.env.SLUICE_SOCKET_PATH ?? process.env.SOCKET_PATH,
  hello: { role: 'crawler', crawlerId: process.argv[2] ?? `crawler-${process.pid}` },
  heartbeat: {
    fields: () => ({ activeJobs, totalProcessed, systemStatus: activeJobs > 0 ? 'crawling' : 'idle' }),
  },
});
client.on('connected', () => console.log('connected'));
client.on('disconnected', ({ error }) => console.log(`disconnected: ${error.code}`));
client.on('rejected', ({ code, messageType }) => console.error(`rejected: ${code} ${messageType ?? ''}`));
client.on('message', (event) => {
  if (event.is('token_refresh_response')) console.log('received a new token');
  if (event.is('shutdown')) stop();
  if (event.is('job_cancel')) cancelled.add(event.message.data.job_id);
  if (event.is('job_response') || event.is('job_assignment')) pushed.push(event.message);
});
process.once('SIGTERM', stop);
process.once('SIGINT', stop);

/** Jobs that arrived without a request, or after the request timed out. They are processed next. */
const pushed = [];
/** IDs of jobs to stop. */
const cancelled = new Set();
let isStopping = false;
async function stop() {
  isStopping = true;
  await client.close();
}

async function crawl(jobId, entityType) {
  activeJobs++;
  await client.publishAsync({ type: 'job_started', jobId, data: { entityType } });
  for (let page = 1; page <= PAGES; page++) {
    await sleep(DELAY);
    if (cancelled.delete(jobId)) {
      activeJobs--;
      return console.log(`${jobId} cancelled`);
    }
    totalProcessed += PAGE_SIZE;
    await client.publishAsync({
      type: 'job_progress',
      jobId,
      data: { stage: 'fetching', entityType, processed: page * PAGE_SIZE, total: PAGES * PAGE_SIZE },
    });
  }
  client.publish({ type: 'token_refresh_request', jobId, data: {} });
  await client.publishAsync({
    type: 'job_completed',
    jobId,
    data: { success: true, finalCounts: { issues: PAGES * PAGE_SIZE } },
  });
  activeJobs--;
}

await client.connect();
while (!isStopping) {
  try {
    const message = pushed.shift() ?? (await client.requestJobs({ timeout: 60_000 }));
    if (message.type === 'job_assignment') {
      await crawl(message.data.job_id, message.data.job_type === 'crawl_user' ? 'user' : 'project');
    } else {
      for (const { id, entityType } of message.data.jobs) await crawl(id, entityType);
    }
  } catch (error) {
    if (!isStopping && error.code !== 'REQUEST_TIMEOUT') throw error;
  }
}
