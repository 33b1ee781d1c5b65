// Files that contain secrets: only their owner may read or write them.

import { statSync } from 'node:fs';
import { SluiceError } from '../errors.js';

/** Permission bits of group and others. */
const GROUP_AND_OTHERS = 0o077;

/** @throws SluiceError `CONFIG_UNREADABLE` if users other than its owner may read or write the file */
export function requirePrivate(path: string): void {
  if ((statSync(path).mode & GROUP_AND_OTHERS) === 0) return;
  throw new SluiceError(
    'CONFIG_UNREADABLE',
    `${path}: contains tokens, but users other than its owner may read or write it; chmod 600 it`,
  );
}
