// Hostile peers, three of each kind, in a separate process. Arguments: the socket path and a token for each role, as
// JSON. Peers whose connection is closed reconnect.
import { connect } from 'node:net';

const { socketPath, crawlerToken, appToken } = JSON.parse(process.argv[2]);
const EACH = 3;
const COME_BACK_AFTER = 200;
const timestamp = '2026-01-01T00:00:00.000Z';
const line = (message) => `${JSON.stringify({ timestamp, ...message })}\n`;
const hello = (role, token) => line({ type: 'hello', data: { role, token } });
const CRAWLER = hello('crawler', crawlerToken);
const APP = hello('app', appToken);
const MiB = 1024 * 1024;

let next = 0;
const ids = (count, length) => Array.from({ length: count }, () => `${next++}-`.padEnd(length, 'x'));
const repeatTo = (text, bytes) => text.repeat(Math.ceil(bytes / text.length));
const objects = repeatTo('{},', MiB - 300).slice(0, -1);

/** For each kind: its first bytes, the interval between further writes (ms), and their bytes. */
const kinds = {
  'a job id of its own for each message': [
    CRAWLER,
    20,
    () =>
      ids(200, 12)
        .map((jobId) => line({ type: 'job_started', jobId, data: {} }))
        .join(''),
  ],
  'names that sound secret': [CRAWLER, 100, () => `${'pwd'.repeat(85)}\n`.repeat(100)],
  'a message with 349,000 wrong objects': [
    CRAWLER,
    1000,
    () =>
      line({ type: 'discovery', data: { entityType: 'issue', entities: [] } }).replace('[]', `[${objects}]`),
  ],
  'lines of two bytes': [CRAWLER, 50, () => 'x\n'.repeat(8192)],
  'a message that hangs its validator': [CRAWLER, 500, () => line({ type: 'looping' })],
  'a message without end': [CRAWLER, 1000, () => `{"type":"x","pad":"${'x'.repeat(1_000_000)}`],
  'subscriptions as large as they may be': [
    APP,
    100,
    () =>
      line({
        type: 'subscribe',
        data: { id: String(next++ % 64), types: ['nothing'], jobIds: ids(200, 256) },
      }),
  ],
  'a subscriber that does not read': [
    APP + line({ type: 'subscribe', data: { id: 'a', overflow: 'drop-oldest', meta: true } }),
    1000,
    (socket) => {
      socket.pause();
      return '';
    },
  ],
  'no hello': ['', 100, () => line({ type: 'job_progress', data: { stage: 'CANARY' } })],
  'a wrong token': [hello('crawler', 'a-token-that-nobody-has'), 1000, () => ''],
  'another version': [
    line({ type: 'hello', data: { role: 'crawler', token: crawlerToken, protocolVersion: '2.0.0' } }),
    1000,
    () => '',
  ],
  pings: [CRAWLER, 20, () => line({ type: 'ping', data: {} }).repeat(200)],
  'large control messages': [
    APP,
    200,
    () => line({ type: 'subscribe', data: { id: 'x', pad: 'x'.repeat(MiB - 300) } }),
  ],
  'ever-new keys': [
    CRAWLER,
    20,
    () =>
      ids(50, 8)
        .map((key) => line({ type: 'job_started', jobId: 'job-1', data: {}, [key]: 1 }))
        .join(''),
  ],
};

function attack(kind) {
  const [first, interval, more] = kinds[kind];
  const socket = connect(socketPath);
  socket.on('error', () => {});
  socket.resume();
  socket.write(first);
  const timer = setInterval(() => {
    // No more than the broker reads: a queue here would only burden this process.
    if (!socket.writableNeedDrain) socket.write(more(socket));
  }, interval);
  socket.on('close', () => {
    clearInterval(timer);
    setTimeout(() => attack(kind), COME_BACK_AFTER);
  });
}

for (const kind of Object.keys(kinds)) for (let count = 0; count < EACH; count++) attack(kind);
process.on('disconnect', () => process.exit());
process.send('ready');
