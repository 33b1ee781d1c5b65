// Peers of a broker whose main thread is blocked, in a separate process so that they continue in the meantime.
// Argument: the socket path. Sends the events of each socket to the parent.
import { connect } from 'node:net';

const [socketPath] = process.argv.slice(2);
const BEAT_MS = 50;
const timestamp = '2026-01-01T00:00:00.000Z';
const line = (message) => `${JSON.stringify({ timestamp, ...message })}\n`;
const heartbeat = line({
  type: 'heartbeat',
  data: { activeJobs: 1, totalProcessed: 1, systemStatus: 'idle' },
});

function open(name) {
  const socket = connect(socketPath);
  socket.on('close', () => process.send({ name, event: 'closed' }));
  socket.on('data', (bytes) => {
    const error = /"type":"error".*/.exec(String(bytes));
    if (error !== null) process.send({ name, event: error[0] });
  });
  return socket;
}

for (let index = 0; index < 20; index++) {
  const crawler = open(`crawler ${index}`);
  setInterval(() => crawler.write(heartbeat), BEAT_MS);
}

const reader = open('reader');
reader.write(line({ type: 'subscribe', data: { id: 'all', overflow: 'block' } }));

// One long message: while the broker does not read, the kernel accepts only a part of it.
const long = line({ type: 'job_started', jobId: 'long', data: { entityId: 'x'.repeat(900_000) } });
const halves = [long.slice(0, 1000), long.slice(1000)];
const sender = open('sender');

process.on('message', (order) => {
  if (order === 'begin') sender.write(halves[0], () => process.send({ event: 'begun' }));
  else sender.write(halves[1]);
});
process.on('disconnect', () => process.exit());
