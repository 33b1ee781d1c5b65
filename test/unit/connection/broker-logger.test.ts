import { Writable } from 'node:stream';
import { type Logger, pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { connectionLogger, redactingLogger } from '#src/connection/broker-logger.js';
import { logClosed, WarningLogger } from '#src/connection/warning-logger.js';
import { sharePlainBroker } from '../../support/broker.js';

/** A caller's logger, and the lines that it has written. */
function callersLogger(level = 'info'): {
  logger: Logger;
  text: () => string;
  lines: () => Record<string, unknown>[];
} {
  let text = '';
  const sink = new Writable({
    write(bytes: Buffer, _encoding, done) {
      text += bytes.toString();
      done();
    },
  });
  const lines = () =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { logger: pino({ level }, sink), text: () => text, lines };
}

describe('the logger of a broker', () => {
  const shared = sharePlainBroker();

  test('blanks what a key calls secret, on top and one level down', () => {
    const { logger, lines } = callersLogger();
    redactingLogger(logger).info({ token: 'a', data: { access_token: 'b', code: 'c' } }, 'text');
    expect(lines()).toMatchObject([{ token: '***', data: { access_token: '***', code: 'c' }, msg: 'text' }]);
  });

  test('has a level of its own', () => {
    const { logger, lines } = callersLogger();
    const own = redactingLogger(logger);
    own.level = 'debug';
    own.debug('heard');
    logger.debug('not heard');
    expect(lines().map(({ msg }) => msg)).toEqual(['heard']);
    expect(logger.level).toBe('info');
  });

  test('has the current identity of a connection', async () => {
    const { manager, connect } = shared();
    const { logger, lines } = callersLogger();
    const peer = await connect();
    await peer.settled();
    const [connection] = manager.getConnectionPool().all();
    if (connection === undefined) throw new Error('no connection');
    connectionLogger(logger, connection).info('before');
    peer.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    await peer.next('welcome');
    connectionLogger(logger, connection).info('after');
    const [before, after] = lines();
    expect(before).toMatchObject({ connection: connection.id, role: 'crawler' });
    expect(before).not.toHaveProperty('crawlerId');
    expect(after).toMatchObject({ connection: connection.id, crawlerId: 'crawler-1' });
  });

  test('escapes what a terminal would interpret in a crawler id', async () => {
    const { manager, connect } = shared();
    const { logger, lines, text } = callersLogger();
    const peer = await connect();
    peer.say('hello', { role: 'crawler', crawlerId: 'a\u009b2J\u202e\u001b' });
    await peer.next('welcome');
    const [connection] = manager.getConnectionPool().all();
    if (connection === undefined) throw new Error('no connection');
    connectionLogger(logger, connection).info('text');
    expect(lines()).toMatchObject([{ crawlerId: 'a\\u009b2J\\u202e\\u001b' }]);
    expect(text()).toMatch(/^[\u0020-\u007e]*\n$/);
  });

  test('warns of a closed connection only if an error of the peer was the reason', async () => {
    const { manager, connect } = shared();
    const { logger, lines } = callersLogger();
    await (await connect()).settled();
    const [connection] = manager.getConnectionPool().all();
    if (connection === undefined) throw new Error('no connection');
    for (const reason of ['peer', 'ECONNRESET', 'SHUTTING_DOWN', 'SLOW_CONSUMER', 'UNAUTHORIZED', 'toString'])
      logClosed(logger, new WarningLogger(logger), connection, reason);
    expect(lines()).toMatchObject([
      { level: 40, reason: 'SLOW_CONSUMER', connection: connection.id },
      { level: 40, reason: 'UNAUTHORIZED' },
    ]);
  });
});
