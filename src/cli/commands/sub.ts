// `sluice sub`: prints messages, one per line, until interrupted.

import { once } from 'node:events';
import { Option } from 'commander';
import type { ClientOptions } from '../../client/client-options.js';
import type { SluiceClient } from '../../client/sluice-client.js';
import type { Subscription } from '../../client/subscription.js';
import type { SubscriptionFilter } from '../../client/subscription-filter.js';
import { stopBlocking } from '../../connection/standard-stream.js';
import { describeError } from '../../errors.js';
import { OVERFLOW_POLICIES } from '../../messages/choices.js';
import { printableLines } from '../../printable.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { EXIT } from '../common/exit-codes.js';
import {
  addConnectOptions,
  addTlsOptions,
  type ConnectFlags,
  collect,
  TOKEN_NOTE,
  typeList,
} from '../common/flags.js';
import { exitWithoutTerminal, printError } from '../common/output.js';

/** Output is written at the latest when it has this many characters. */
const WRITE_SIZE = 256 * 1024;

interface SubFlags {
  types?: string;
  job?: string[];
  crawler?: string[];
  group?: string;
  overflow?: NonNullable<SubscriptionFilter['overflow']>;
  meta?: boolean;
  last?: boolean;
  from?: string;
  cursor?: string;
  fleet?: boolean;
}

export const definition: CommandDefinition = {
  description: 'print messages, one per line, until interrupted; exit 1 if the broker closes the connection',
  define: (command) =>
    addTlsOptions(
      addConnectOptions(
        command
          .option(
            '--types <list>',
            'comma-separated message types; job_* matches every type with the prefix job_ (default: all)',
          )
          .option('--job <id>', 'only messages of this job; may be repeated', collect)
          .option('--crawler <id>', 'only messages of this crawler; may be repeated', collect)
          .option('--group <name>', 'share the messages among all subscribers of this group')
          .addOption(
            new Option(
              '--last',
              'begin with the latest message of each job and the latest heartbeat of each crawler; not with --group, --from or --cursor',
            ).conflicts('group'),
          )
          .addOption(
            new Option(
              '--from <start>',
              "begin in the broker's durable log: new, first, a position such as 0123456789abcdef:42, or a time such as 2026-01-31T12:00Z",
            ).conflicts(['group', 'last']),
          )
          .addOption(
            new Option(
              '--cursor <name>',
              'let the broker remember what was printed, and continue there next time; needs a durable log',
            ).conflicts(['group', 'last']),
          )
          .addOption(
            new Option(
              '--fleet',
              'messages of all hosts of the fleet that the broker is part of; --from and --cursor refer to its stream',
            ).conflicts('group'),
          )
          .option('--meta', 'wrap each message in an object with its sender and sequence number'),
        'monitor',
      ),
    )
      .addOption(
        new Option('--overflow <policy>', 'overflow policy for when this subscriber falls behind').choices(
          OVERFLOW_POLICIES,
        ),
      )
      .action(async (flags: SubFlags & ConnectFlags) => exitWithoutTerminal(await sub(flags))),
  examples: [
    ['sluice sub', 'print all messages from crawlers'],
    ["sluice sub --types 'job_*' | jq .data", 'only messages about jobs'],
    ["sluice sub --last --types 'job_*'", 'the latest message of each job, then all further ones'],
    [
      'sluice sub --from first --cursor archive >> archive.ndjson',
      'all messages of the log; the next run continues where this one ended',
    ],
    ['sluice sub --types presence', 'which crawlers connect and disconnect'],
    ['sluice sub --types rejected', 'rejected messages, and why they were rejected'],
    [
      'sluice sub --crawler crawler-1 --meta',
      'messages from one crawler, each with its sender and sequence number',
    ],
  ],
  notes: [TOKEN_NOTE],
};

/** @returns the exit code */
async function sub(flags: SubFlags & ConnectFlags): Promise<number> {
  const { resolveConnection } = await import('../common/resolve-connection.js');
  const { SluiceClient } = await import('../../client/sluice-client.js');
  const connection = resolveConnection(flags, 'monitor');
  // Without this, a stopped terminal would block the handling of signals.
  for (const stream of [process.stdout, process.stderr]) stopBlocking(stream);
  const client = new SluiceClient({ ...connection, reconnect: false });
  try {
    // From the start: the broker may count the subscription before this process has its answer.
    return await Promise.race([
      untilSignal(),
      untilClosed(client, flags.socket ?? addressOf(connection), flags),
    ]);
  } finally {
    client.removeAllListeners('closed');
    await client.close();
  }
}

/** Resolves when a signal asks the command to end. @returns the exit code */
function untilSignal(): Promise<number> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(EXIT.OK));
  });
}

/** Subscribes and prints until the broker closes the connection. @returns the exit code */
async function untilClosed(client: SluiceClient, address: string, flags: SubFlags): Promise<number> {
  await client.connect();
  client.on('unknown_types', ({ types }) => {
    const list = types.map((type) => JSON.stringify(type)).join(', ');
    printError(
      `sluice sub: warning: nothing will arrive of type ${list}: crawlers send no such messages (sluice schemas lists the types)`,
    );
  });
  const filter = filterOf(flags);
  const subscription = await client.subscribe(filter);
  if (process.stderr.isTTY) printError(describeFilter(filter, address));
  client.on('rejected', ({ code, message }) => printError(`sluice sub: ${code}: ${message}`));
  // Errors that end the loop are reported by the client.
  printLines(subscription, flags.meta ?? false).catch(() => {});
  const [error] = await once(client, 'closed');
  printError(`sluice sub: the broker closed the connection${error ? `: ${describeError(error)}` : ''}`);
  return EXIT.FAILURE;
}

/**
 * Combines queued messages into one write, and reads no further messages while standard output is full. With a cursor, each
 * message is written before the next one is taken: that is what moves the cursor.
 */
async function printLines(subscription: Subscription, withMeta: boolean): Promise<void> {
  let text = '';
  for await (const { line, raw } of subscription) {
    text += `${withMeta ? line : raw}\n`;
    const mayWait = subscription.filter.cursor === undefined && subscription.queuedBytes > 0;
    if (mayWait && text.length < WRITE_SIZE) continue;
    // Programs get the messages as they are; in a terminal, their text must not have an effect.
    const canContinue = process.stdout.write(process.stdout.isTTY ? printableLines(text) : text);
    text = '';
    if (!canContinue) await once(process.stdout, 'drain');
  }
}

/** What the terminal shows while no message has arrived. */
function describeFilter(
  { types, jobIds, crawlerIds, group, scope }: SubscriptionFilter,
  address: string,
): string {
  const parts = [
    types === undefined ? 'all messages' : `messages of type ${types.join(', ')}`,
    jobIds && `of job ${jobIds.join(', ')}`,
    crawlerIds && `from crawler ${crawlerIds.join(', ')}`,
    scope === 'fleet' && 'of all hosts of the fleet',
    group && `shared with group ${group}`,
  ];
  return `sluice sub: receiving ${parts.filter(Boolean).join(', ')}, from ${address}; Ctrl-C ends`;
}

const POSITION = /^(?:[0-9a-f]{16}:\d+|fleet:\d+:\d+:.*)$/;

function startOf(text: string): NonNullable<SubscriptionFilter['from']> {
  if (text === 'new' || text === 'first') return text;
  return POSITION.test(text) ? { offset: text } : { time: text };
}

function addressOf({ socketPath, host, port }: ClientOptions): string {
  return socketPath ?? `${host}:${port}`;
}

function filterOf(flags: SubFlags): SubscriptionFilter {
  const types = typeList(flags.types);
  return {
    ...(types === undefined ? {} : { types }),
    ...(flags.job === undefined ? {} : { jobIds: flags.job }),
    ...(flags.crawler === undefined ? {} : { crawlerIds: flags.crawler }),
    ...(flags.group === undefined ? {} : { group: flags.group }),
    ...(flags.overflow === undefined ? {} : { overflow: flags.overflow }),
    ...(flags.meta === undefined ? {} : { meta: flags.meta }),
    ...(flags.last === undefined ? {} : { last: flags.last }),
    ...(flags.from === undefined ? {} : { from: startOf(flags.from) }),
    ...(flags.cursor === undefined ? {} : { cursor: flags.cursor }),
    ...(flags.fleet === true ? { scope: 'fleet' } : {}),
  };
}
