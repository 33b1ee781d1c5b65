// Given to Node with --import: writes the address of each module that the process loads to the file IMPORTS_FILE, a line
// each. What a CommonJS package requires itself is not among them.

import { appendFileSync } from 'node:fs';
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

// Node calls the hook in a thread of its own, which loads this file again.
if (isMainThread) register(import.meta.url);

export async function load(url, context, nextLoad) {
  appendFileSync(process.env.IMPORTS_FILE, `${url}\n`);
  return nextLoad(url, context);
}
