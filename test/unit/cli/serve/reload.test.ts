import { once } from 'node:events';
import { chmodSync, copyFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { reload } from '#src/cli/serve/reload.js';
import { startPlainBroker, temporaryFolder } from '../../../support/broker.js';
import { packageRoot } from '../../../support/cli.js';
import { line } from '../../../support/messages.js';

const [OLD, NEW] = ['the-old-token-0123456', 'the-new-token-0123456'];

/** A broker with TLS and a token file. */
async function startReloadable() {
  const folder = temporaryFolder();
  const pathOf = (name: string) => join(folder, name);
  const [tlsCert, tlsKey, file] = ['cert.pem', 'key.pem', 'tokens.json'].map(pathOf) as [
    string,
    string,
    string,
  ];
  const putCertificate = (name: string) => {
    const source = join(packageRoot, 'test/support/certificates', name);
    copyFileSync(`${source}.pem`, tlsCert);
    copyFileSync(`${source}.key`, tlsKey);
    chmodSync(tlsKey, 0o600);
  };
  const putTokens = (tokens: unknown) =>
    writeFileSync(file, JSON.stringify({ app: tokens }), { mode: 0o600 });
  putCertificate('server');
  putTokens([OLD]);
  const broker = await startPlainBroker({
    port: 0,
    socketPath: undefined,
    tlsCert,
    tlsKey,
    auth: { file },
  });
  return { ...broker, tlsCert, putCertificate, putTokens };
}

test('SIGHUP changes tokens, certificates and the log level, or nothing if one of the files cannot be used', async () => {
  const { manager, tlsCert, putCertificate, putTokens } = await startReloadable();
  const { options } = manager;
  const log = pino({ level: 'silent' });
  const address = manager.getStatus().address ?? '';
  const port = Number(address.slice(address.lastIndexOf(':') + 1));
  /** The name in the certificate, and the type of the answer to a token. */
  const observe = async (token: string) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    socket.write(line({ type: 'hello', data: { role: 'app', token } }));
    const [answer] = await once(socket.setEncoding('utf8'), 'data');
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return [CN, JSON.parse(answer.split('\n')[0]).type];
  };
  const hangUp = () => reload(manager, log, options, () => ({ ...options, logLevel: 'fatal' }));

  putTokens([NEW]);
  truncateSync(tlsCert, 100);
  hangUp();
  expect([await observe(OLD), await observe(NEW), log.level]).toEqual([
    ['localhost', 'welcome'],
    ['localhost', 'error'],
    'silent',
  ]);
  putTokens('none');
  putCertificate('other');
  hangUp();
  expect([await observe(OLD), log.level]).toEqual([['localhost', 'welcome'], 'silent']);
  putTokens([NEW]);
  hangUp();
  expect([await observe(OLD), await observe(NEW), log.level]).toEqual([
    ['Another authority', 'error'],
    ['Another authority', 'welcome'],
    'fatal',
  ]);
});
