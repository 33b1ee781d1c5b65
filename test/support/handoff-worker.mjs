// A worker that waits at a handoff. The first byte of a batch determines how the batch is processed.
import { parentPort, workerData } from 'node:worker_threads';
import { serveHandoff } from '../../dist/src/worker/handoff-server.js';

serveHandoff(workerData, ({ arenas, ranges }) => {
  const text = Buffer.from(arenas[0]).toString('latin1', ranges[1], ranges.at(-1));
  if (text.startsWith('d')) return undefined;
  if (text.startsWith('s')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  if (text.startsWith('h')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  if (text.startsWith('m')) {
    return { chunks: [], runs: [], frames: new Uint32Array(5000), jobs: [], accepted: [] };
  }
  return { chunks: [text.length], runs: [], frames: [], jobs: [1, 3], accepted: [], matched: 1 };
});
parentPort.postMessage('sent away');
parentPort.close();
