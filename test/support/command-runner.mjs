// Runs a program's main module repeatedly in one process, once per message from the parent, because loading the code
// costs more than running it. A message has the arguments, further environment variables, and the input. The main module
// is evaluated anew each time; its imports are reused. Replies with the program's output and exit code.

import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';

const [, , script] = process.argv;
const address = pathToFileURL(script).href;
const outputs = ['stdout', 'stderr'];
const environment = { ...process.env };
let runs = 0;

// Each run adds listeners.
for (const name of outputs) process[name].setMaxListeners(0);

process.on('message', async ({ args, env, input }) => {
  const written = { stdout: '', stderr: '' };
  for (const name of outputs) {
    process[name].write = (text) => {
      written[name] += text;
      return true;
    };
  }
  const stdin = Readable.from(input === '' ? [] : [Buffer.from(input)]);
  Object.defineProperty(process, 'stdin', { value: stdin, configurable: true });
  process.env = { ...environment, ...env };
  process.argv = [process.execPath, script, ...args];
  process.exitCode = undefined;
  runs++;
  await import(`${address}?run=${runs}`);
  const code = process.exitCode ?? 0;
  process.exitCode = undefined;
  process.send({ code, ...written });
});
