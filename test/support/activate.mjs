// Opens listening sockets and hands them to `sluice serve`, as systemd does: `activate.mjs CLI PATHS NAMES [ARGUMENT…]`.
// PATHS and NAMES are separated by colons; the path `udp` stands for a datagram socket, `tcp` for any free port. Waits without
// accepting anything itself, then prints the exit status and which socket files are left.

import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';

const [cli, paths, names, ...options] = process.argv.slice(2);
const descriptors = [];
for (const path of paths.split(':')) {
  if (path === 'udp') {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    // The state of a datagram socket is under a symbol.
    const states = Object.getOwnPropertySymbols(socket).map((symbol) => socket[symbol]);
    descriptors.push(states.find((state) => state?.handle)?.handle.fd);
  } else {
    const server = createServer().listen(path === 'tcp' ? { host: '127.0.0.1', port: 0 } : path);
    await once(server, 'listening');
    descriptors.push(server._handle.fd);
  }
}
const variables = `LISTEN_PID=$$ LISTEN_FDS=${descriptors.length} LISTEN_FDNAMES=${names}`;
const { status } = spawnSync(
  '/bin/sh',
  ['-c', `${variables} exec "$0" "$@"`, process.execPath, cli, 'serve', ...options],
  { stdio: ['ignore', 'inherit', 'inherit', ...descriptors] },
);
console.log(JSON.stringify({ status, left: paths.split(':').filter((path) => existsSync(path)) }));
process.exit();
