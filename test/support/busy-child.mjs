// A child process that is busy while its parent exits, and then tries to send a message. With 0 ms, it fails instead, as
// when its parent has taken along what it was about to connect to.
import { runPeer, sendToParent } from '#src/cli/common/parent-process.js';

await runPeer(async (busy) => {
  sendToParent({ busy });
  await new Promise(setImmediate);
  if (busy === 0) throw new Error('there is nothing to connect to');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busy);
  sendToParent({ busy });
});
