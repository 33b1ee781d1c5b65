// Standard output and standard error as outputs that never block the main thread, whatever they are:
//
// - Pipes and sockets are non-blocking in Node already.
// - Terminals block in Node, as one that Ctrl-S stops or whose window hangs. libuv opens a terminal again for each
//   stream of it, so that one can be made non-blocking without the other programs that use it noticing.
// - Files and devices are written by the thread pool.
//
// The thread pool would not do for all: a write that blocks there keeps the process from exiting.

import { fstatSync, write } from 'node:fs';
import { isatty, WriteStream } from 'node:tty';
import type { LogOutput } from './log-writer.js';

export type StandardFd = 1 | 2;

/** The part of a libuv handle that Node does not declare. */
interface StreamHandle {
  readonly fd?: number;
  setBlocking?(isBlocking: boolean): number;
}

const opened = new Map<StandardFd, LogOutput>();

/**
 * Gives standard output or error, the same one each time. Where it is a terminal, `process.stdout` and `process.stderr`
 * stay as they are.
 */
export function openStandardStream(fd: StandardFd): LogOutput {
  const output = opened.get(fd) ?? open(fd);
  opened.set(fd, output);
  return output;
}

/** Makes writes to a terminal wait in its stream instead of blocking. Does nothing to other streams. */
export function stopBlocking(stream: NodeJS.WriteStream): void {
  if (stream.isTTY) handleOf(stream)?.setBlocking?.(false);
}

function open(fd: StandardFd): LogOutput {
  if (isatty(fd)) return openTerminal(fd);
  const stats = fstatSync(fd);
  if (!stats.isFIFO() && !stats.isSocket()) return fileOutput(fd);
  return streamOutput(fd === 1 ? process.stdout : process.stderr);
}

function openTerminal(fd: StandardFd): LogOutput {
  const terminal = new WriteStream(fd);
  stopBlocking(terminal);
  // One that may not be opened again, as another user's after `su`, is the same descriptor. libuv would write to it in a
  // busy loop while it is blocked; a write by the thread pool ends with EAGAIN, since it is non-blocking now.
  return handleOf(terminal)?.fd === fd ? fileOutput(fd) : streamOutput(terminal);
}

function handleOf(stream: object): StreamHandle | undefined {
  return (stream as { _handle?: StreamHandle })._handle;
}

function streamOutput(stream: NodeJS.WriteStream): LogOutput {
  // Each write is told of its error, too.
  stream.on('error', () => {});
  return {
    write: (bytes, done) => void stream.write(bytes, (error) => done(error, error ? 0 : bytes.length)),
  };
}

function fileOutput(fd: number): LogOutput {
  return { write: (bytes, done) => write(fd, bytes, done) };
}
