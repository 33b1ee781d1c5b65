// Standard output and standard error as outputs that never block the main thread, whatever kind of file they are:
//
// - Pipes and sockets are already non-blocking in Node.
// - Writes to a terminal block in Node, for example after Ctrl-S or while its window hangs. libuv reopens a terminal
//   for each stream, so the stream can be made non-blocking without affecting other programs that use the terminal.
// - Files and devices are written by the thread pool.
//
// The thread pool is not used for everything, because a write that blocks there keeps the process from exiting.

import { fstatSync, write } from 'node:fs';
import { isatty, WriteStream } from 'node:tty';
import type { LineOutput } from './line-writer.js';

export type StandardFd = 1 | 2;

/** The part of a libuv handle that Node does not declare. */
interface StreamHandle {
  readonly fd?: number;
  setBlocking?(isBlocking: boolean): number;
}

const opened = new Map<StandardFd, LineOutput>();

/**
 * Opens standard output or standard error; returns the same output each time. If it is a terminal, `process.stdout` and
 * `process.stderr` are not changed.
 */
export function openStandardStream(fd: StandardFd): LineOutput {
  const output = opened.get(fd) ?? open(fd);
  opened.set(fd, output);
  return output;
}

/** Makes a terminal stream queue its writes instead of blocking. Has no effect on other streams. */
export function stopBlocking(stream: NodeJS.WriteStream): void {
  if (stream.isTTY) handleOf(stream)?.setBlocking?.(false);
}

function open(fd: StandardFd): LineOutput {
  if (isatty(fd)) return openTerminal(fd);
  // With 64-bit numbers: after fstatSync of a pipe with doubles, Node 20 no longer resolves the links of packages that
  // it loads (pnpm's, for example), and loads some of them twice.
  const stats = fstatSync(fd, { bigint: true });
  if (!stats.isFIFO() && !stats.isSocket()) return fileOutput(fd);
  return streamOutput(fd === 1 ? process.stdout : process.stderr);
}

function openTerminal(fd: StandardFd): LineOutput {
  const terminal = new WriteStream(fd);
  stopBlocking(terminal);
  // If the terminal cannot be reopened (after `su` it belongs to another user), the stream has the same descriptor.
  // libuv would write to it in a busy loop while it is blocked; a write by the thread pool fails with EAGAIN, because
  // the descriptor is non-blocking now.
  return handleOf(terminal)?.fd === fd ? fileOutput(fd) : streamOutput(terminal);
}

function handleOf(stream: object): StreamHandle | undefined {
  return (stream as { _handle?: StreamHandle })._handle;
}

function streamOutput(stream: NodeJS.WriteStream): LineOutput {
  // Each write also reports its error to its callback.
  stream.on('error', () => {});
  return {
    write: (bytes, done) => void stream.write(bytes, (error) => done(error, error ? 0 : bytes.length)),
  };
}

function fileOutput(fd: number): LineOutput {
  return { write: (bytes, done) => write(fd, bytes, done) };
}
