// Loads parts of this package from where it is installed. A bundler copies code into another file, but neither worker
// threads nor files that are read at run time, such as those of the dashboard. So what starts workers, reads files or
// uses CommonJS dependencies is never bundled: it is loaded by a computed path, which bundlers leave alone, from this
// package's own folder or, if this code has been bundled, from the package in node_modules.

import { existsSync, readFileSync } from 'node:fs';
// Not the named export `createRequire`: webpack replaces its calls.
import nodeModule from 'node:module';
import { pathToFileURL } from 'node:url';
import { SluiceError } from './errors.js';
import { SERVER_VERSION } from './version.js';

/** The end of this file's URL, unless it is bundled. */
const OWN_PATH = '/dist/src/installed.js';
const REMEDY =
  'mark it external (esbuild: --external:sluice or --packages=external) and install it where the bundle runs';

let sourceUrl: URL | undefined;

/**
 * Imports a file of this package.
 * @param path relative to `dist/src`
 * @throws SluiceError `NOT_INSTALLED` if this code is bundled, and node_modules does not contain the same version of the package
 */
export async function importInstalled<Module>(path: string): Promise<Module> {
  sourceUrl ??= locate();
  const { href } = new URL(path, sourceUrl);
  return import(/* webpackIgnore: true */ /* @vite-ignore */ href);
}

/**
 * Loads a CommonJS dependency of this package. Bundled as an ES module, such a package often fails to load.
 * @throws SluiceError `NOT_INSTALLED`, as {@link importInstalled}
 */
export function requireInstalled<Module>(name: string): Module {
  sourceUrl ??= locate();
  return nodeModule.createRequire(sourceUrl)(name);
}

/** The URL of `dist/src`. */
function locate(): URL {
  // Undefined in a bundle in CommonJS format. Some bundlers replace it with a path of the machine that they ran on.
  const ownUrl: string | undefined = import.meta.url;
  if (ownUrl?.endsWith(OWN_PATH) && existsSync(new URL(ownUrl))) return new URL('.', ownUrl);
  const ownPath = typeof __filename === 'undefined' ? undefined : __filename;
  for (const base of [ownUrl, ownPath, process.argv[1]]) {
    const found = base === undefined ? undefined : findFrom(base);
    if (found !== undefined) return found;
  }
  throw new SluiceError('NOT_INSTALLED', `not found; ${REMEDY}`);
}

/** Searches the node_modules folders above a file. @param base path or URL of the file */
function findFrom(base: string): URL | undefined {
  let path: string;
  try {
    path = nodeModule.createRequire(base).resolve('sluice/package.json');
  } catch {
    return undefined;
  }
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version?: unknown };
  if (version === SERVER_VERSION) return new URL('dist/src/', pathToFileURL(path));
  const detail = `version ${String(version)} found instead of ${SERVER_VERSION}; ${REMEDY}`;
  throw new SluiceError('NOT_INSTALLED', detail);
}
