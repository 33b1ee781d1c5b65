// The package as it is published: a copy of what was built before the tests, bundled. A broker of it starts with a sixth
// less CPU time.

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { inject } from 'vitest';

/** The folder of this package. */
export const packageRoot = join(createRequire(import.meta.url).resolve('sluice/package.json'), '..');

/** How often to check whether another process has finished the package, in ms. */
const CHECK_INTERVAL = 20;

/** The folder of the published package, with its dependencies. The first test that needs it makes it, and others wait. */
export function publishedPackage(): string {
  const folder = inject('sharedFolder');
  const finished = join(folder, 'package');
  while (!existsSync(finished)) {
    if (isCreated(join(folder, 'lock'))) publish(folder, finished);
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, CHECK_INTERVAL);
  }
  return finished;
}

/** Creates a folder. @returns `false` if it exists */
function isCreated(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

function publish(folder: string, finished: string): void {
  const copy = join(folder, 'unfinished');
  try {
    const { files } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
      readonly files: readonly string[];
    };
    for (const path of ['package.json', ...files.filter((name) => !name.startsWith('!'))])
      cpSync(join(packageRoot, path), join(copy, path), { recursive: true });
    const script = join(packageRoot, 'dist/scripts/bundle-package.js');
    execFileSync(process.execPath, [script, copy], { stdio: 'pipe' });
    symlinkSync(join(packageRoot, 'node_modules'), join(copy, 'node_modules'));
    renameSync(copy, finished);
  } catch (error) {
    // The next test that needs it fails with the same reason, instead of waiting for it.
    rmSync(copy, { recursive: true, force: true });
    rmSync(join(folder, 'lock'), { recursive: true });
    throw error;
  }
}
