// Simulates monitoring of a broker: a Prometheus scrape of /metrics every second, and one open dashboard. Runs in a
// separate process; its argument is the path of the admin server's socket.

import { get } from 'node:http';

const SCRAPE_INTERVAL = 1000;

const socketPath = process.argv[2] ?? '';
const read = (path: string) =>
  get({ socketPath, path }, (response) => response.resume()).on('error', () => process.exit(1));

read('/events');
setInterval(() => read('/metrics'), SCRAPE_INTERVAL);
process.on('disconnect', () => process.exit());
process.send?.('watching');
