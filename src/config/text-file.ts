// Configuration files as editors write them.

import { readFileSync } from 'node:fs';
import { describeError, SluiceError } from '../errors.js';

/** Byte order marks of UTF-16. */
const UTF_16 = ['fffe', 'feff'];

/**
 * Reads a file in UTF-8, with or without a byte order mark.
 * @throws Error if it cannot be read, or has another encoding
 */
export function readText(path: string): string {
  const bytes = readFileSync(path);
  if (UTF_16.includes(bytes.toString('hex', 0, 2))) throw new Error('is encoded in UTF-16; save it in UTF-8');
  try {
    // Removes the byte order mark.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Error('is not encoded in UTF-8');
  }
}

/**
 * Calls a function that reads files.
 * @param paths the files, for the error
 * @throws SluiceError `CONFIG_UNREADABLE` if the function throws
 */
export function readConfiguration<T>(paths: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new SluiceError('CONFIG_UNREADABLE', `${paths}: ${describeError(cause)}`, { cause });
  }
}
