// The input of `pub` and `check`: a file, or standard input.

import { fstatSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { isatty } from 'node:tty';
import { describeError } from '../../errors.js';
import { printError } from './output.js';

export interface Input {
  /** `undefined` for standard input. */
  readonly file: FileHandle | undefined;
  /** In bytes; 0 if unknown. */
  readonly size: number;
}

/**
 * Opens the input of a command. If it cannot be read, prints an error on standard error and returns `undefined`. In a
 * terminal whose keyboard is the input, prints that it is.
 * @param name file name, or `-` for standard input
 */
export async function openInput(command: string, name: string): Promise<Input | undefined> {
  let file: FileHandle | undefined;
  try {
    file = name === '-' ? undefined : await open(name);
    // With 64-bit numbers, as in standard-stream.ts.
    const stat = file === undefined ? fstatSync(0, { bigint: true }) : await file.stat();
    if (stat.isDirectory()) throw new Error(`${name} is a directory`);
    if (file === undefined && isatty(0) && process.stderr.isTTY) {
      printError(`sluice ${command}: reading messages from the terminal; Ctrl-D ends`);
    }
    return { file, size: Number(stat.size) };
  } catch (error) {
    await file?.close();
    printError(`sluice ${command}: ${describeError(error)}`);
    return undefined;
  }
}
