// Programs that a test needs. If one is not installed, the test is skipped, and its name gives the reason.

import { execFileSync } from 'node:child_process';
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

let pythonPath: string | undefined;

/** Path of the Python interpreter. The `python3` in PATH may be a slow script that starts it. */
export function python(): string {
  const args = ['-I', '-S', '-c', 'import sys; print(sys.executable)'];
  pythonPath ??= execFileSync('python3', args, { encoding: 'utf8' }).trim();
  return pythonPath;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
