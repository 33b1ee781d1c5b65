// For `node --import`: on exit, writes the URL of each loaded ES module as a line to the file IMPORTS_FILE. Observes the
// modules as a debugger does, since a loader hook would run in a thread of its own.

import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  const urls = [];
  const session = new Session();
  session.connect();
  session.on('Debugger.scriptParsed', ({ params }) => {
    if (params.isModule) urls.push(params.url);
  });
  session.post('Debugger.enable');
  process.on('exit', () => writeFileSync(process.env.IMPORTS_FILE, `${urls.join('\n')}\n`));
}
