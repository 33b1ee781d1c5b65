// Entries of a log, for tests of the log alone: their index is empty.

import type { LogEntry } from '#src/log/active-segment.js';
import { createHead, RecordKind } from '#src/log/format.js';

/** Messages of one connection, one per line. */
export function logEntry(messages: readonly string[], sender = 1): LogEntry {
  return {
    sender: { number: sender, id: `c-${sender}`, crawlerId: undefined },
    fields: { kind: RecordKind.RUN, count: messages.length, time: 1000, sequence: 1, decidedBefore: 0 },
    head: createHead(messages.length, (index) => index.fill(7)),
    body: Buffer.from(messages.map((message) => `${message}\n`).join('')),
  };
}
