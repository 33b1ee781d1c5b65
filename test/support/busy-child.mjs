// A child process that is busy while its parent exits, and then tries to send a message.
import { exitWithParent, receiveFromParent, sendToParent } from '#src/cli/common/parent-process.js';

exitWithParent();
const busy = await receiveFromParent();
sendToParent({ busy });
await new Promise(setImmediate);
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busy);
sendToParent({ busy });
