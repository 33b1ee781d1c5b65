// What `pub` and `check` read: a file, or standard input.

import { fstatSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { describeError } from '../../errors.js';

export interface Input {
  /** None: standard input. */
  readonly file: FileHandle | undefined;
  /** In bytes; 0: not known. */
  readonly size: number;
}

/**
 * Opens the input of a command. When it cannot be read, that is said on standard error.
 * @param name of the file; `-`: standard input
 */
export async function openInput(command: string, name: string): Promise<Input | undefined> {
  let file: FileHandle | undefined;
  try {
    file = name === '-' ? undefined : await open(name);
    const stat = file === undefined ? fstatSync(0) : await file.stat();
    if (stat.isDirectory()) throw new Error(`${name} is a directory`);
    return { file, size: stat.size };
  } catch (error) {
    await file?.close();
    process.stderr.write(`sluice ${command}: ${describeError(error)}\n`);
    return undefined;
  }
}
