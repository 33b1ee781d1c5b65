// What `sluice serve` prints in a terminal once it is started.

import { expect, test } from 'vitest';
import { welcome } from '#src/cli/serve/run-broker.js';
import { resolveOptions } from '#src/config/config.js';

const TLS = { port: 0, tlsCert: 's.pem', tlsKey: 's.key' };

test.each([
  [{ socketPath: '/run/a b.sock' }, '/run/a b.sock', "--socket '/run/a b.sock'"],
  [{ port: 0 }, '127.0.0.1:4711', '--port 4711'],
  [{ port: 7000, host: '0.0.0.0' }, '0.0.0.0:7000', '--port 7000'],
  [{ port: 7000, host: '::1' }, '[::1]:7000', '--host ::1 --port 7000'],
  [{ listenFd: 3 }, '10.0.0.1:7000', '--host 10.0.0.1 --port 7000'],
  [TLS, '127.0.0.1:7000', '--port 7000 --tls-ca CA.pem'],
  [
    { ...TLS, tlsClientCa: 'ca.pem' },
    '127.0.0.1:7000',
    '--port 7000 --tls-ca CA.pem --tls-cert CERT.pem --tls-key KEY.pem',
  ],
])('with %j, tells how to connect to %s', (options, address, flags) => {
  const text = welcome(resolveOptions(options), { address, admin: undefined });
  expect(text).toContain(`npx sluice sub ${flags}  `);
  expect(text).toContain(`npx sluice pub ${flags} messages.ndjson  `);
});

test('with an inherited Unix socket, tells only the rest', () => {
  const text = welcome(resolveOptions({ listenFd: 3 }), { address: 'fd 3', admin: '127.0.0.1:9464' });
  expect(text).not.toContain('npx');
  expect(text).toContain('  Dashboard: http://127.0.0.1:9464/\n  Ctrl-C stops the broker.');
});
