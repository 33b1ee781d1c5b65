// Programs that a test needs. If one is not installed, the test is skipped, and its name gives the reason.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Returns the programs that are not in PATH. */
export function missingTools(...names: readonly string[]): string[] {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return names.filter((name) => !folders.some((folder) => isExecutable(join(folder, name))));
}

/** Suffix for the name of a skipped test. */
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
