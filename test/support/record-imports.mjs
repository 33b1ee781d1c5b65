// For `node --import`: writes the URL of each loaded module as a line to the file IMPORTS_FILE. Modules that a CommonJS
// package requires are not included.

import { appendFileSync } from 'node:fs';
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

// Node calls the hook in a thread of its own, which loads this file again.
if (isMainThread) register(import.meta.url);

export async function load(url, context, nextLoad) {
  appendFileSync(process.env.IMPORTS_FILE, `${url}\n`);
  return nextLoad(url, context);
}
