// Programs that a test needs and that a machine may lack: then the test is skipped, and its name says why.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Those of the programs that are not in PATH. */
export function missingTools(...names: readonly string[]): string[] {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return names.filter((name) => !folders.some((folder) => isExecutable(join(folder, name))));
}

/** What a test's name ends with when it is skipped. */
export function without(missing: readonly string[]): string {
  return missing.length === 0 ? '' : ` (skipped: this machine has no ${missing.join(', ')})`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
