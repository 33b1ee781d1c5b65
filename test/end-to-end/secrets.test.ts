// Canaries: a secret in every field of every message, good and bad, must show nowhere but where the message
// was meant to go.

import { get } from 'node:http';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { expect, onTestFinished, test } from 'vitest';
import { ask } from '../support/admin.js';
import { temporaryFolder } from '../support/broker.js';
import { VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const CANARY = 'canary-8f3a1c';
const TOKEN = `glpat-${CANARY}`;
const AUTH = `auth-${CANARY}-0123456789`;

/** The message with each string in turn, and each new key and type, replaced by the secret; then cut short. */
function variants(message: object): string[] {
  const text = JSON.stringify(message);
  const strings = [...text.matchAll(/"(?:[^"\\]|\\.)*"/g)];
  const planted = strings.map(
    ({ index, 0: { length } }) => `${text.slice(0, index)}"${TOKEN}"${text.slice(index + length)}`,
  );
  const numbers = [...text.matchAll(/:\d+/g)].map(
    ({ index, 0: { length } }) => `${text.slice(0, index)}:"${TOKEN}"${text.slice(index + length)}`,
  );
  return [
    ...planted,
    ...numbers,
    `${text.slice(0, -1)},"access_token":"${TOKEN}"`,
    `${text.slice(0, -2)},"token":{"a":"${TOKEN}"},]`,
  ];
}

test('no secret shows in logs, error replies, samples, events, the status or the admin server', async () => {
  let log = '';
  const sink = new Writable({
    write(bytes: Buffer, _encoding, done) {
      log += bytes.toString();
      done();
    },
  });
  const admin = join(temporaryFolder(), 'admin.sock');
  const manager = new SocketManager(
    {
      socketPath: join(temporaryFolder(), 'broker.sock'),
      workers: { threads: 1 },
      maxErrorReplies: 100_000,
      patterns: 'verify',
      auth: { tokens: { app: [AUTH], monitor: [AUTH] } },
      admin,
    },
    { logger: pino({ level: 'trace' }, sink) },
  );
  const events: unknown[] = [];
  manager.on('rejected', ({ connection: _, ...rejection }) => events.push(rejection));
  manager.on('server_error', ({ error }) => events.push(String(error)));
  manager.on('health_warning', (issue) => events.push(issue));
  await manager.start();
  onTestFinished(() => manager.stop());
  const path = String(manager.getStatus().address);
  const app = await Peer.connect(path);
  app.say('hello', { role: 'app', token: AUTH });
  await app.subscribe({ types: ['rejected'] });
  const stranger = await Peer.connect(path);
  stranger.say('hello', { role: 'app', token: TOKEN });
  await stranger.closed;

  const crawler = await Peer.connect(path);
  for (const message of Object.values(VALID)) {
    for (const text of variants(message)) crawler.write(`${text}\n`);
    crawler.write(`${JSON.stringify(message)} ${TOKEN}\n`);
  }
  await crawler.settled();
  await app.settled();
  // Of /events, the snapshot that comes at once.
  const snapshot = new Promise<string>((resolve, reject) => {
    const sent = get({ socketPath: admin, path: '/events' }, (reply) => {
      let text = '';
      reply.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        if (/^data: .*\n\n/m.test(text)) resolve(text);
      });
    });
    sent.on('error', reject);
  });
  const pages = ['/metrics', '/api/stats', '/api/connections', '/api/schemas', '/asyncapi.json'];
  const shown: [page: string, text: string][] = [];
  for (const page of pages) shown.push([page, (await ask(admin, page)).body]);
  shown.push(['/events', await snapshot]);
  await manager.stop();

  expect(app.lines.filter((text) => text.includes('"rejected"')).length).toBeGreaterThan(100);
  expect(crawler.errors.length).toBeGreaterThan(100);
  const seen: Record<string, string> = {
    log,
    replies: [...crawler.lines, ...stranger.lines].join('\n'),
    samples: app.lines.join('\n'),
    events: JSON.stringify(events),
    status: JSON.stringify(manager.getStatus()),
    ...Object.fromEntries(shown),
  };
  for (const [where, text] of Object.entries(seen)) {
    expect(text.length).toBeGreaterThan(0);
    expect({
      where,
      found: text.includes(CANARY) ? text.slice(Math.max(0, text.indexOf(CANARY) - 200)).slice(0, 400) : '',
    }).toEqual({ where, found: '' });
  }
});
