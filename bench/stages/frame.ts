// Frame: finds the messages in a stream, newline-delimited and undelimited.

import type { Bench } from 'tinybench';
import { MessageBuffer } from '../../src/connection/message-buffer.js';
import { SlabPool } from '../../src/memory/slab-pool.js';
import { Traffic } from '../../src/traffic/traffic.js';

const MESSAGES = 500;

export function add(bench: Bench): ReadonlyMap<string, number> {
  const messages = new Map<string, number>();
  for (const [name, delimiter] of [
    ['lines', '\n'],
    ['undelimited', ''],
  ] as const) {
    const bytes = new Traffic({ seed: 1 }).block(MESSAGES, delimiter);
    const options = { framing: 'auto', delimiter: 10, maxMessageSize: 1 << 20 } as const;
    const buffer = new MessageBuffer(new SlabPool(256 * 1024), options, { onFrames() {}, onOversize() {} });
    // Includes the copy into the slab. Real sockets read directly into it.
    bench.add(name, () => buffer.write(bytes));
    messages.set(name, MESSAGES);
  }
  return messages;
}
