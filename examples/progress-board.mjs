// A board of all jobs, for a terminal: a client of a broker that runs elsewhere, with `sluice/client`. It finds its
// broker again when that is restarted.
//
//   npx sluice serve                   # in another terminal
//   node examples/progress-board.mjs   # SOCKET_PATH: where the broker listens (default: Sluice's own)
//
// In a terminal the board is drawn anew after each change; into a pipe or a file go the changes, a line each.

import { SluiceClient } from 'sluice/client';

const MAX_JOBS = 1000;
const REDRAW = 100;
const BAR = 20;

const client = new SluiceClient({
  socketPath: process.env.SOCKET_PATH,
  // SLUICE_TOKEN: where the broker wants one.
  hello: { role: 'monitor', token: process.env.SLUICE_TOKEN },
});
client.on('connected', () => note('connected'));
client.on('disconnected', ({ error }) => note(`disconnected: ${error.code}`));
process.once('SIGTERM', () => client.close());
process.once('SIGINT', () => client.close());

/** What is shown of each job, by its id; the one that changed last at the end. */
const jobs = new Map();
let status = '';
let timer;

/** What crawlers write must not move the cursor. */
const plain = (text) => text.replaceAll(/[^\x20-\x7e]/g, '?');

function describe(event) {
  if (event.is('job_started')) return 'started';
  if (event.is('job_failed')) return `failed: ${plain(event.message.data.errorType ?? 'no type')}`;
  if (event.is('job_completed'))
    return event.message.data.success ? 'completed' : 'completed without success';
  if (!event.is('job_progress')) return undefined;
  const { processed, total, stage } = event.message.data;
  if (!total) return `${stage} ${processed}`;
  const filled = Math.round((processed / total) * BAR);
  return `${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ${processed}/${total}`;
}

function note(text) {
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
  const id = plain(event.message.jobId ?? event.message.job_id);
  const text = describe(event);
  if (text === undefined) continue;
  jobs.delete(id);
  jobs.set(id, text);
  if (jobs.size > MAX_JOBS) jobs.delete(jobs.keys().next().value);
  if (process.stdout.isTTY) redraw();
  else console.log(`${id} ${text}`);
}
