// What commands write to standard output and standard error, when nobody reads it any more.

import { describeError } from '../../errors.js';
import { EXIT } from './exit-codes.js';

/** How long the end of a command waits for its output to be read, in ms. */
export const OUTPUT_TIMEOUT = 500;

/** Ends a command whose output cannot be written. One whose reader has seen enough has done its work: `sluice … | head`. */
export function exitOnOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? EXIT.OK);
  process.stderr.write(`sluice: ${describeError(error)}\n`);
  process.exit(EXIT.FAILURE);
}

/** Sets the exit code, and exits soon even if a terminal that is stopped has not taken all output. */
export function exitWithoutTerminal(code: number): void {
  process.exitCode = code;
  if (process.stdout.isTTY || process.stderr.isTTY) exitSoon();
}

/** Lets the process end by itself, which waits until all output is read, for a short time only. */
export function exitSoon(): void {
  setTimeout(() => process.exit(), OUTPUT_TIMEOUT).unref();
}
