// The jobs of examples/job-queue.mjs, in SQLite where Node has it (from version 22 on), else in a file. For PostgreSQL,
// replace this file: each function is one statement.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

/** @param path of the database, without its suffix */
export async function openStore(path) {
  const sqlite = await import('node:sqlite').catch(() => undefined);
  return sqlite === undefined ? new FileStore(`${path}.json`) : new SqliteStore(sqlite, `${path}.db`);
}

/** Rows are jobs as JSON, with the columns that are searched. */
class SqliteStore {
  #database;

  constructor({ DatabaseSync }, path) {
    this.#database = new DatabaseSync(path);
    this.#database.exec(`
      CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, state TEXT, crawler TEXT, not_before INTEGER, job TEXT);
      CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, not_before);
    `);
  }

  add(job) {
    this.#write('INSERT OR IGNORE', job);
  }

  get(id) {
    return this.#read('id = ?', id)[0];
  }

  set(id, job) {
    this.#write('REPLACE', { ...job, id });
  }

  /** Assigns jobs that wait and are due, the oldest first. @param owner which crawler has them, and by which connection */
  take(count, owner, now) {
    const due = this.#read(`state = 'queued' AND not_before <= ? ORDER BY rowid LIMIT ${count}`, now);
    const taken = due.map((job) => ({ ...job, ...owner, state: 'assigned', tries: job.tries + 1 }));
    for (const job of taken) this.set(job.id, job);
    return taken;
  }

  of(crawler) {
    return this.#read("state = 'assigned' AND crawler = ?", crawler);
  }

  assigned() {
    return this.#read("state = 'assigned'");
  }

  count(state) {
    return this.#read('state = ?', state).length;
  }

  #read(where, ...values) {
    return this.#database
      .prepare(`SELECT job FROM jobs WHERE ${where}`)
      .all(...values)
      .map(({ job }) => JSON.parse(job));
  }

  #write(how, job) {
    const { id, state, crawler = null, notBefore } = job;
    this.#database
      .prepare(`${how} INTO jobs VALUES (?, ?, ?, ?, ?)`)
      .run(id, state, crawler, notBefore, JSON.stringify(job));
  }
}

/** Each change replaces the whole file: it is not meant for many jobs. */
class FileStore {
  #path;
  #jobs;

  constructor(path) {
    this.#path = path;
    const rows = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : [];
    this.#jobs = new Map(rows.map((job) => [job.id, job]));
  }

  add(job) {
    if (!this.#jobs.has(job.id)) this.set(job.id, job);
  }

  get(id) {
    return this.#jobs.get(id);
  }

  set(id, job) {
    this.#jobs.set(id, { ...job, id });
    this.#save();
  }

  take(count, owner, now) {
    const due = this.#where((job) => job.state === 'queued' && job.notBefore <= now).slice(0, count);
    const taken = due.map((job) => ({ ...job, ...owner, state: 'assigned', tries: job.tries + 1 }));
    for (const job of taken) this.#jobs.set(job.id, job);
    if (taken.length > 0) this.#save();
    return taken;
  }

  of(crawler) {
    return this.#where((job) => job.state === 'assigned' && job.crawler === crawler);
  }

  assigned() {
    return this.#where((job) => job.state === 'assigned');
  }

  count(state) {
    return this.#where((job) => job.state === state).length;
  }

  #where(matches) {
    return [...this.#jobs.values()].filter(matches);
  }

  #save() {
    // `flush`: on the disk before it takes the place of the old file.
    writeFileSync(`${this.#path}.tmp`, JSON.stringify([...this.#jobs.values()]), { flush: true });
    renameSync(`${this.#path}.tmp`, this.#path);
  }
}
