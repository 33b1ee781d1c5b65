// Files with secrets in them: only their owner may read them, or change them.

import { statSync } from 'node:fs';
import { SluiceError } from '../errors.js';

/** Permissions of others than the owner. */
const OTHERS = 0o077;

/** @throws SluiceError `CONFIG_UNREADABLE` when others than its owner may read or write the file */
export function requirePrivate(path: string): void {
  if ((statSync(path).mode & OTHERS) === 0) return;
  throw new SluiceError(
    'CONFIG_UNREADABLE',
    `${path}: there are tokens in it, and others than its owner may read or write it; chmod 600 it`,
  );
}
