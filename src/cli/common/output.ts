// How commands report errors, and how they exit when their output is not read or cannot be written: closed pipes, stopped
// terminals, full disks.

import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { describeError } from '../../errors.js';
import { printableLines } from '../../printable.js';
import { EXIT } from './exit-codes.js';

/** How long an exiting command waits for its output to be read, in ms. */
export const OUTPUT_TIMEOUT = 500;

/**
 * Makes a write to a file as standard output fail if the disk is full. Node ignores that only the beginning of it was
 * written.
 */
export function detectFullDisk(): void {
  const { fd } = process.stdout;
  const output: Writable = process.stdout;
  // Pipes and terminals are sockets in Node.
  if (output instanceof Socket) return;
  output._write = (chunk: Buffer, _encoding, done) => {
    try {
      for (let written = 0; written < chunk.length; ) written += writeSync(fd, chunk, written);
      done();
    } catch (error) {
      done(error as Error);
    }
  };
}

/** Prints a line on standard error. */
export function printError(line: string): void {
  process.stderr.write(`${printableLines(line)}\n`);
}

/** Exits when output cannot be written. A reader that closes the pipe is not a failure: `sluice … | head`. */
export function exitOnOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? EXIT.OK);
  printError(`sluice: ${describeError(error)}`);
  process.exit(EXIT.FAILURE);
}

const warned = new Set<string>();

/** Prints a warning on standard error, once. */
export function warn(text: string): void {
  if (!warned.has(text)) process.stderr.write(`sluice: ${text}\n`);
  warned.add(text);
}

/** Sets the exit code, and exits soon even if a stopped terminal has not accepted all output. */
export function exitWithoutTerminal(code: number): void {
  process.exitCode = code;
  if (process.stdout.isTTY || process.stderr.isTTY) exitSoon();
}

/** Exits after {@link OUTPUT_TIMEOUT}, unless the process ends by itself earlier, when all its output has been read. */
export function exitSoon(): void {
  setTimeout(() => process.exit(), OUTPUT_TIMEOUT).unref();
}
