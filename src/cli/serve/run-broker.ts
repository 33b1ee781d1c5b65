// Runs the broker as a process of its own.

import { isatty } from 'node:tty';
import { setFlagsFromString } from 'node:v8';
import type { Logger } from 'pino';
import { howToOpenAdmin, parseAdminAddress, shellWord } from '../../config/addresses.js';
import type { ResolvedOptions } from '../../config/config.js';
import { type OwnedLogger, openLogger } from '../../connection/broker-logger.js';
import type { LineWriter } from '../../connection/line-writer.js';
import type { ServerStatus } from '../../connection/server-events.js';
import { stopBlocking } from '../../connection/standard-stream.js';
import { describeError, describeForLog, SluiceError } from '../../errors.js';
import { printableLines } from '../../printable.js';
import { SocketManager, type SocketManagerDependencies } from '../../server/socket-manager.js';
import { type BrokerFlags, resolveFlags } from '../common/broker-options.js';
import { EXIT } from '../common/exit-codes.js';
import { exitOnOutputError, exitSoon, OUTPUT_TIMEOUT, printError } from '../common/output.js';
import { reload } from './reload.js';
import { Supervisor } from './supervisor.js';

/** The first file descriptor after standard input, output and error. */
const FIRST_INHERITED = 3;

/**
 * Runs the broker until a signal stops it. SIGHUP reloads the options; in a terminal, it means that the terminal was
 * closed, and stops the broker.
 */
export async function runBroker(flags: BrokerFlags): Promise<void> {
  // A schema module may change the working directory.
  const folder = process.cwd();
  const read = () => resolveFlags(flags, folder);
  const options = read();
  const { logger, writer } = await createLogger(options.logLevel);
  const manager = new SocketManager(options, {
    ...inheritedSockets(options),
    logger,
    droppedLogLines: () => writer.droppedLines,
  });
  const supervisor = new Supervisor(logger);
  supervisor.follow(manager);
  exitOnSignals(manager, supervisor, logger, writer);
  if (!isInTerminal()) {
    process.on('SIGHUP', () => supervisor.whileReloading(() => reload(manager, logger, options, read)));
  }
  try {
    await manager.start();
  } catch (error) {
    exitSoon();
    throw error;
  }
  stopHeapGrowth();
  if (process.stdout.isTTY) writer.write(welcome(options, manager.getStatus()));
}

/**
 * The listening sockets that systemd has opened for this process, if any: one named `admin` is for the admin server, all
 * others are for peers, unless `listenFd` names another one. See sd_listen_fds(3).
 * @throws SluiceError `LISTEN_FAILED` if several are named `admin`
 */
function inheritedSockets({
  listenFd,
}: ResolvedOptions): Pick<SocketManagerDependencies, 'listenFds' | 'adminFd'> {
  const { LISTEN_PID, LISTEN_FDS = '', LISTEN_FDNAMES = '' } = process.env;
  if (LISTEN_PID !== String(process.pid) || !/^[1-9]\d{0,3}$/.test(LISTEN_FDS)) return {};
  const names = LISTEN_FDNAMES.split(':');
  const fds = Array.from({ length: Number(LISTEN_FDS) }, (_, index) => FIRST_INHERITED + index);
  const isForAdmin = (fd: number) => names[fd - FIRST_INHERITED] === 'admin';
  const [adminFd, second] = fds.filter(isForAdmin);
  if (second !== undefined) {
    throw new SluiceError('LISTEN_FAILED', `fd ${second}: only one inherited socket may have the name admin`);
  }
  const listenFds = fds.filter((fd) => !isForAdmin(fd));
  return listenFd !== undefined || listenFds.length === 0 ? { adminFd } : { adminFd, listenFds };
}

/**
 * Keeps V8's young generation from growing further: a loaded broker then uses less memory, with no measurable loss of
 * speed. Not before the start, since V8 compiles Node's own modules anew after any change of its flags.
 */
function stopHeapGrowth(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

function isInTerminal(): boolean {
  return isatty(0) || isatty(1);
}

/** Opens the logger. A log that is not read or cannot be written (as in a closed terminal) does not stop the broker. */
async function createLogger(level: string): Promise<OwnedLogger> {
  process.stdout.off('error', exitOnOutputError);
  stopBlocking(process.stderr);
  const onError = (error: NodeJS.ErrnoException) => {
    printError(`sluice: cannot write the log: ${describeError(error)}`);
  };
  if (!process.stdout.isTTY) return openLogger(1, { level, onError });
  const { prettyFactory } = await import('pino-pretty');
  // Respects NO_COLOR, FORCE_COLOR and TERM=dumb.
  const colorize = process.stdout.hasColors();
  const pretty = prettyFactory({ colorize, ignore: 'pid,hostname' });
  // Escaped twice, since it decodes the line.
  return openLogger(1, { level, onError, render: (line) => pretty(printableLines(line, '\\\\')) });
}

/** The first signal shuts down gracefully, the second exits at once. Both wait briefly for the log to be read. */
function exitOnSignals(
  manager: SocketManager,
  supervisor: Supervisor,
  logger: Logger,
  writer: LineWriter,
): void {
  let isStopping = false;
  const exit = (code: number): void => {
    void writer.flush(OUTPUT_TIMEOUT).then(() => process.exit(code));
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) {
      // A closing terminal may cause two of these signals: from the kernel and from the shell.
      if (signal === 'SIGHUP') return;
      logger.warn({ signal }, 'second signal: exiting immediately');
      exit(EXIT.FAILURE);
      return;
    }
    isStopping = true;
    const stopped = manager.stop(signal).then(() => supervisor.allSent);
    stopped.then(
      () => exit(EXIT.OK),
      (error: unknown) => {
        logger.fatal({ error: describeForLog(error) }, 'shutdown failed');
        exit(EXIT.FAILURE);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  if (isInTerminal()) process.on('SIGHUP', onSignal);
}

/** What can be done next. How to connect is not said of an inherited Unix socket, whose path is unknown. */
export function welcome(
  options: ResolvedOptions,
  { address, admin }: Pick<ServerStatus, 'address' | 'admin'>,
): string {
  const flags = connectFlags(options, address ?? '');
  const dashboard = admin && howToOpenAdmin(admin);
  const commands = [
    '  In other terminals:',
    `    npx sluice sub ${flags}                    # print every message`,
    `    npx sluice pub ${flags} messages.ndjson    # send messages from a file, or from stdin`,
  ];
  return [
    '',
    ...(flags === undefined ? [] : commands),
    ...(dashboard ? [`  Dashboard: ${dashboard}`] : []),
    '  Ctrl-C stops the broker.',
    '',
    '',
  ].join('\n');
}

/** The flags of a command that connects to the broker. */
function connectFlags({ tlsCert, tlsClientCa }: ResolvedOptions, text: string): string | undefined {
  const address = parseAdminAddress(text);
  if (address === undefined) return undefined;
  if ('path' in address) return `--socket ${shellWord(address.path)}`;
  const { host, port } = address;
  return [
    // The default of the commands, which reaches a broker that listens at any address, too.
    ...(['127.0.0.1', '0.0.0.0', '::'].includes(host) ? [] : ['--host', host]),
    '--port',
    port,
    ...(tlsCert === undefined ? [] : ['--tls-ca CA.pem']),
    ...(tlsClientCa === undefined ? [] : ['--tls-cert CERT.pem --tls-key KEY.pem']),
  ].join(' ');
}
