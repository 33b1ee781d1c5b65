// `sluice serve`: the broker as a process of its own.

import { isatty } from 'node:tty';
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import type { ResolvedOptions } from '../config.js';
import { SocketManager } from '../connection/socket-manager.js';
import { EXIT } from './exit-codes.js';
import { reload } from './reload.js';
import { Supervisor } from './supervisor.js';

/** Descriptors before this one are standard input, output and error. */
const FIRST_INHERITED = 3;

export interface ServeFlags {
  printConfig?: boolean;
}

/**
 * Runs until a signal ends it. SIGHUP reads the options again; in a terminal, it says that the terminal has gone.
 * @param read gives the options, from where they come from
 */
export async function serve(read: () => ResolvedOptions, flags: ServeFlags): Promise<void> {
  const options = read();
  if (flags.printConfig) {
    process.stdout.write(`${JSON.stringify(options, withoutTokens, 2)}\n`);
    return;
  }
  const log = createLogger(options.logLevel);
  const manager = new SocketManager({ ...options, ...inherited() }, { logger: log });
  const supervisor = new Supervisor(log);
  supervisor.follow(manager);
  exitOnSignals(manager, supervisor, log);
  if (!isInTerminal()) {
    process.on('SIGHUP', () => supervisor.whileReloading(() => reload(manager, log, options, read)));
  }
  await manager.start();
  if (process.stdout.isTTY) printWelcome(options);
}

/** The socket that systemd has opened for this process, if there is one. See sd_listen_fds(3). */
function inherited(): { listenFd?: number } {
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  return LISTEN_PID === String(process.pid) && Number(LISTEN_FDS) >= 1 ? { listenFd: FIRST_INHERITED } : {};
}

/** How many tokens there are, in place of them. */
function withoutTokens(key: string, value: unknown): unknown {
  if (key !== 'tokens' || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([role, list]) => [role, `${(list as string[]).length} tokens`]),
  );
}

function isInTerminal(): boolean {
  return isatty(0) || isatty(1);
}

function createLogger(level: string): Logger {
  const destination = pino.destination({ dest: 1, sync: true });
  // A log that cannot be written any more, as that of a terminal that has gone, stops no broker.
  destination.on('error', () => {});
  if (!process.stdout.isTTY) return pino({ level }, destination);
  return pino({ level }, pretty({ colorize: true, ignore: 'pid,hostname', destination }));
}

/** The first signal drains, the second leaves at once. */
function exitOnSignals(manager: SocketManager, supervisor: Supervisor, log: Logger): void {
  let isStopping = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) {
      // A terminal that goes may say so twice: the kernel does, and the shell.
      if (signal === 'SIGHUP') return;
      log.warn({ signal }, 'second signal: leaving at once');
      process.exit(EXIT.FAILURE);
    }
    isStopping = true;
    const stopped = manager.stop(signal).then(() => supervisor.allTold);
    stopped.then(
      () => process.exit(EXIT.OK),
      (error: unknown) => {
        log.fatal({ error: String(error) }, 'stopping failed');
        process.exit(EXIT.FAILURE);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  if (isInTerminal()) process.on('SIGHUP', onSignal);
}

function printWelcome({ socketPath, port }: ResolvedOptions): void {
  const where = socketPath === undefined ? `--port ${port}` : `--socket ${socketPath}`;
  process.stdout.write(
    [
      '',
      '  In other terminals:',
      `    npx sluice sub ${where}                    # print every message`,
      `    npx sluice pub ${where} messages.ndjson    # send messages from a file, or from stdin`,
      '  Ctrl-C stops the broker.',
      '',
      '',
    ].join('\n'),
  );
}
