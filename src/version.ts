// This package's version.

import { readFileSync } from 'node:fs';

/** As `sluice --version` prints it and `welcome` tells it. */
export const SERVER_VERSION = packageVersion();

function packageVersion(): string {
  const url = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(url, 'utf8')) as { version: string }).version;
}
