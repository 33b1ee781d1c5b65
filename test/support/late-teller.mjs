// A process that is busy while the command that started it goes, and then has something to tell.
import { leaveWithParent, parentSays, tellParent } from '#src/cli/common/parent-process.js';

leaveWithParent();
const busy = await parentSays();
tellParent({ busy });
await new Promise(setImmediate);
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busy);
tellParent({ busy });
