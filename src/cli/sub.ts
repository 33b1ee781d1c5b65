// `sluice sub`: prints messages as lines, until interrupted or until nobody reads them any more.

import { type ClientOptions, SluiceClient, type Subscription } from '../client/sluice-client.js';
import { describeError } from '../errors.js';
import { EXIT } from './exit-codes.js';

export interface SubFlags {
  types?: string;
  job?: string[];
  crawler?: string[];
  group?: string;
  overflow?: NonNullable<Subscription['overflow']>;
  meta?: boolean;
}

/** @returns the exit code */
export async function sub(flags: SubFlags, connection: ClientOptions): Promise<number> {
  const client = await SluiceClient.connect(connection);
  const ended = new Promise<number>((resolve) => {
    client.on('closed', (error) => {
      process.stderr.write(
        `sluice sub: the broker closed the connection${error ? `: ${describeError(error)}` : ''}\n`,
      );
      resolve(EXIT.FAILURE);
    });
    process.once('SIGINT', () => resolve(EXIT.OK));
    process.once('SIGTERM', () => resolve(EXIT.OK));
    // `sluice sub | head` closes the pipe when it has seen enough.
    process.stdout.on('error', () => resolve(EXIT.OK));
  });
  client.on('refused', ({ code, message }) => process.stderr.write(`sluice sub: ${code}: ${message}\n`));
  printLines(client);
  await client.subscribe(subscriptionOf(flags));
  const code = await ended;
  client.removeAllListeners('closed');
  await client.close();
  return code;
}

/** Writes what one turn of the event loop brought with one write, and reads no more than stdout takes. */
function printLines(client: SluiceClient): void {
  let lines: string[] = [];
  const flush = (): void => {
    const text = lines.join('');
    lines = [];
    if (process.stdout.write(text)) return;
    client.pause();
    process.stdout.once('drain', () => client.resume());
  };
  client.on('line', (line) => {
    if (lines.length === 0) setImmediate(flush);
    lines.push(`${line.toString()}\n`);
  });
}

function subscriptionOf(flags: SubFlags): Subscription {
  const types = flags.types
    ?.split(',')
    .map((type) => type.trim())
    .filter((type) => type !== '');
  return {
    id: 'sub',
    ...(types === undefined || types.length === 0 ? {} : { types }),
    ...(flags.job === undefined ? {} : { jobIds: flags.job }),
    ...(flags.crawler === undefined ? {} : { crawlerIds: flags.crawler }),
    ...(flags.group === undefined ? {} : { group: flags.group }),
    ...(flags.overflow === undefined ? {} : { overflow: flags.overflow }),
    ...(flags.meta === undefined ? {} : { meta: flags.meta }),
  };
}
