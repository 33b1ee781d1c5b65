// Keeps V8's young generation small: a loaded broker then uses 20 MB less memory, with no measurable loss of speed.
// Imported for its effect, before anything else.
//
// `node --max-semi-space-size=2` has the same effect, but a first line `#!/usr/bin/env -S node …` does not work with the
// env of busybox.

import { setFlagsFromString } from 'node:v8';

// The heap of this thread already has its limit, so it is kept from growing instead.
setFlagsFromString('--semi-space-growth-factor=1');
// For the heaps of worker threads, which are yet to be created. In MiB.
setFlagsFromString('--max-semi-space-size=2');
