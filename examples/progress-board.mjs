// A terminal board that shows all jobs: a client of a separate broker, built with `sluice/client`. It reconnects when
// the broker is restarted.
//
//   npx sluice serve                   # in another terminal
//   node examples/progress-board.mjs   # SLUICE_SOCKET_PATH: the broker's socket (default: Sluice's default path)
//
// In a terminal, the board is redrawn after each change; to a pipe or a file, it writes one line per change.

import { SluiceClient } from 'sluice/client';

const MAX_JOBS = 1000;
const REDRAW = 100;
const BAR = 20;

const client = new SluiceClient({
  socketPath: process.env.SLUICE_SOCKET_PATH ?? process.env.SOCKET_PATH,
  // SLUICE_TOKEN: set it if the broker requires a token.
  hello: { role: 'monitor', token: process.env.SLUICE_TOKEN },
});
client.on('connected', () => showStatus('connected'));
client.on('disconnected', ({ error }) => showStatus(`disconnected: ${error.code}`));
process.once('SIGTERM', () => client.close());
process.once('SIGINT', () => client.close());

/** Displayed text of each job, by id, in the order of the latest change. */
const jobs = new Map();
let status = '';
let timer;

/** Replaces control characters, so that text from crawlers cannot move the cursor. */
const sanitize = (text) => String(text).replaceAll(/[^\x20-\x7e]/g, '?');

function describe(event) {
  if (event.is('job_started')) return 'started';
  if (event.is('job_failed')) return `failed: ${sanitize(event.message.data.errorType ?? 'no type')}`;
  if (event.is('job_completed'))
    return event.message.data.success ? 'completed' : 'completed without success';
  if (!event.is('job_progress')) return undefined;
  const { processed, total, stage } = event.message.data;
  if (!total) return `${stage} ${processed}`;
  // With `validation: report`, the broker forwards any numbers.
  const filled = Math.round(Math.min(1, Math.max(0, processed / total)) * BAR);
  return `${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ${processed}/${total}`;
}

function showStatus(text) {
  status = text;
  if (!process.stdout.isTTY) console.log(text);
  else redraw();
}

function redraw() {
  if (timer !== undefined) return;
  timer = setTimeout(() => {
    timer = undefined;
    const rows = [...jobs]
      .slice(2 - (process.stdout.rows || 24))
      .map(([id, text]) => `${id.padEnd(16)} ${text}`);
    process.stdout.write(`\x1b[H\x1b[2J${[`${jobs.size} jobs, ${status}`, ...rows].join('\n')}\n`);
  }, REDRAW);
}

await client.connect();
for await (const event of await client.subscribe({ types: ['job_*'], overflow: 'drop-oldest' })) {
  const text = describe(event);
  // Others, such as `job_request`, may be about no job.
  if (text === undefined) continue;
  const id = sanitize(event.message.jobId ?? event.message.job_id);
  jobs.delete(id);
  jobs.set(id, text);
  if (jobs.size > MAX_JOBS) jobs.delete(jobs.keys().next().value);
  if (process.stdout.isTTY) redraw();
  else console.log(`${id} ${text}`);
}
