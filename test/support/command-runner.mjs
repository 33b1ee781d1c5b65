// Runs a program's main module again and again in one process, as it is asked to: loading the code costs more than
// what it does. Each time it is a new module; what it imports is the same. Answers with what it wrote to its
// outputs, and the exit code that it set.

import { pathToFileURL } from 'node:url';

const [, , script] = process.argv;
const address = pathToFileURL(script).href;
const outputs = ['stdout', 'stderr'];
let runs = 0;

// Each run adds listeners.
for (const name of outputs) process[name].setMaxListeners(0);

process.on('message', async (args) => {
  const written = { stdout: '', stderr: '' };
  for (const name of outputs) {
    process[name].write = (text) => {
      written[name] += text;
      return true;
    };
  }
  process.argv = [process.execPath, script, ...args];
  process.exitCode = undefined;
  runs++;
  await import(`${address}?run=${runs}`);
  const code = process.exitCode ?? 0;
  process.exitCode = undefined;
  process.send({ code, ...written });
});
