// A database writer: stores the results of jobs from the broker's durable log. It stores its position in the same
// transaction, and begins there the next time: it may be killed at any moment, and loses and repeats nothing.
//
//   npx sluice serve --socket /tmp/sluice.sock --log /tmp/sluice-log    # in another terminal
//   node examples/durable-results.mjs /tmp/sluice.sock results.db       # SOCKET DATABASE_FILE
//
// Run only one writer for each database file.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { SluiceClient } from 'sluice/client';

const [socketPath, file] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: node durable-results.mjs SOCKET DATABASE_FILE');
  process.exit(64);
}

/** Opens a SQLite database: rows and position change in one transaction. */
function openDatabase({ DatabaseSync }) {
  const database = new DatabaseSync(file);
  database.exec(`
    CREATE TABLE IF NOT EXISTS results (log_offset INTEGER, job_id TEXT, outcome TEXT);
    CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT);
  `);
  const insert = database.prepare('INSERT INTO results VALUES (?, ?, ?)');
  const setPosition = database.prepare('REPLACE INTO position VALUES (1, ?)');
  return {
    position: database.prepare('SELECT value FROM position').get()?.value,
    add(rows, position) {
      database.exec('BEGIN');
      for (const { offset, jobId, outcome } of rows) insert.run(offset, jobId, outcome);
      setPosition.run(position);
      database.exec('COMMIT');
    },
  };
}

/**
 * For a Node without SQLite: a file with the position in its first line and a row in each further line. Each batch
 * replaces the whole file, so that rows and position change together; it is not meant for many rows.
 */
function openFile() {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '{}\n';
  const rowsAt = text.indexOf('\n') + 1;
  let lines = text.slice(rowsAt);
  return {
    position: JSON.parse(text.slice(0, rowsAt)).position,
    add(rows, position) {
      for (const row of rows) lines += `${JSON.stringify(row)}\n`;
      // `flush`: on the disk before it takes the place of the old file.
      writeFileSync(`${file}.tmp`, `${JSON.stringify({ position })}\n${lines}`, { flush: true });
      renameSync(`${file}.tmp`, file);
    },
  };
}

function outcomeOf(event) {
  if (event.is('job_failed')) return 'failed';
  return event.message.data.success ? 'completed' : 'completed without success';
}

/** A position is the epoch of the log and the offset of the next message. */
function parsePosition(position) {
  const [epoch, offset] = position.split(':');
  return { epoch, offset: Number(offset) };
}

const sqlite = await import('node:sqlite').catch(() => undefined);
const store = sqlite === undefined ? openFile() : openDatabase(sqlite);

/** Where the next message is expected. */
let next;
const client = new SluiceClient({ socketPath, hello: { role: 'app', token: process.env.SLUICE_TOKEN } });
client.on('disconnected', ({ error }) => console.log(`disconnected: ${error.code}`));
client.on('gap', ({ from, to, reason }) => {
  console.error(`messages ${from} to ${to} are missing: ${reason}`);
  // Another log has taken the place of the old one, and has offsets of its own.
  if (reason === 'epoch') next = parsePosition(to);
});
await client.connect();
const subscription = await client.subscribe({
  types: ['job_completed', 'job_failed'],
  from: store.position === undefined ? 'first' : { offset: store.position },
  meta: true, // for event.offset
});
next = parsePosition(subscription.position);
process.once('SIGTERM', () => client.close());
process.once('SIGINT', () => client.close());
console.log(`reading from ${subscription.position}`);

let rows = [];
for await (const event of subscription) {
  // After a reconnect, the broker repeats the messages since the latest `subscription.position`.
  if (event.offset >= next.offset) {
    next.offset = event.offset + 1;
    const jobId = event.message.jobId ?? event.message.job_id;
    rows.push({ offset: event.offset, jobId, outcome: outcomeOf(event) });
  }
  // One transaction for all messages that have arrived. Nothing is awaited in between: the queue is at most 1 MiB.
  if (rows.length === 0 || subscription.queuedBytes > 0) continue;
  const position = `${next.epoch}:${next.offset}`;
  store.add(rows, position);
  console.log(`stored ${rows.length} results, up to ${position}`);
  rows = [];
}
