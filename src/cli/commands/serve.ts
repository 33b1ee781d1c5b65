// `sluice serve`: the broker as a process of its own.

import { isatty } from 'node:tty';
import type { Logger } from 'pino';
import type { ResolvedOptions } from '../../config/config.js';
import { type OwnLog, openLog } from '../../connection/broker-logger.js';
import type { LogWriter } from '../../connection/log-writer.js';
import { stopBlocking } from '../../connection/standard-stream.js';
import { describeError } from '../../errors.js';
import { SocketManager } from '../../server/socket-manager.js';
import { type BrokerFlags, resolveFlags } from '../common/broker-options.js';
import { EXIT } from '../common/exit-codes.js';
import { exitOnOutputError, exitSoon, OUTPUT_TIMEOUT } from '../common/output.js';
import { reload } from '../common/reload.js';
import { Supervisor } from '../common/supervisor.js';

/** Descriptors before this one are standard input, output and error. */
const FIRST_INHERITED = 3;

/** Runs until a signal ends it. SIGHUP reads the options again; in a terminal, it says that the terminal has gone. */
export async function serve(flags: BrokerFlags): Promise<void> {
  const read = () => resolveFlags(flags);
  const options = read();
  const { logger: log, writer } = await createLog(options.logLevel);
  const manager = new SocketManager(
    { ...options, ...inherited() },
    { logger: log, droppedLogLines: () => writer.droppedLines },
  );
  const supervisor = new Supervisor(log);
  supervisor.follow(manager);
  exitOnSignals(manager, supervisor, log, writer);
  if (!isInTerminal()) {
    process.on('SIGHUP', () => supervisor.whileReloading(() => reload(manager, log, options, read)));
  }
  try {
    await manager.start();
  } catch (error) {
    exitSoon();
    throw error;
  }
  if (process.stdout.isTTY) writer.write(welcome(options));
}

/** The socket that systemd has opened for this process, if there is one. See sd_listen_fds(3). */
function inherited(): { listenFd?: number } {
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  return LISTEN_PID === String(process.pid) && Number(LISTEN_FDS) >= 1 ? { listenFd: FIRST_INHERITED } : {};
}

function isInTerminal(): boolean {
  return isatty(0) || isatty(1);
}

/** A log that is not read or cannot be written, as that of a terminal that has gone, stops no broker. */
async function createLog(level: string): Promise<OwnLog> {
  process.stdout.off('error', exitOnOutputError);
  stopBlocking(process.stderr);
  const onError = (error: NodeJS.ErrnoException) => {
    process.stderr.write(`sluice: the log cannot be written: ${describeError(error)}\n`);
  };
  if (!process.stdout.isTTY) return openLog(1, { level, onError });
  const { prettyFactory } = await import('pino-pretty');
  const render = prettyFactory({ colorize: true, ignore: 'pid,hostname' });
  return openLog(1, { level, onError, render });
}

/** The first signal drains, the second leaves at once. Either way, the last lines have a moment to be read. */
function exitOnSignals(manager: SocketManager, supervisor: Supervisor, log: Logger, writer: LogWriter): void {
  let isStopping = false;
  const exit = (code: number): void => {
    void writer.flush(OUTPUT_TIMEOUT).then(() => process.exit(code));
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) {
      // A terminal that goes may say so twice: the kernel does, and the shell.
      if (signal === 'SIGHUP') return;
      log.warn({ signal }, 'second signal: leaving at once');
      exit(EXIT.FAILURE);
      return;
    }
    isStopping = true;
    const stopped = manager.stop(signal).then(() => supervisor.allTold);
    stopped.then(
      () => exit(EXIT.OK),
      (error: unknown) => {
        log.fatal({ error: String(error) }, 'stopping failed');
        exit(EXIT.FAILURE);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  if (isInTerminal()) process.on('SIGHUP', onSignal);
}

function welcome({ socketPath, port }: ResolvedOptions): string {
  const where = socketPath === undefined ? `--port ${port}` : `--socket ${socketPath}`;
  return [
    '',
    '  In other terminals:',
    `    npx sluice sub ${where}                    # print every message`,
    `    npx sluice pub ${where} messages.ndjson    # send messages from a file, or from stdin`,
    '  Ctrl-C stops the broker.',
    '',
    '',
  ].join('\n');
}
