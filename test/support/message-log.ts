// The durable log of a broker, without a broker.

import { join } from 'node:path';
import { MessageLog, type MessageLogOptions } from '#src/log/message-log.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { temporaryFolder } from './broker.js';
import { numberedBlock } from './numbered.js';
import { runOf } from './runs.js';

export function openMessageLog(options: Partial<MessageLogOptions> = {}): Promise<MessageLog> {
  return MessageLog.open({
    folder: join(temporaryFolder(), 'log'),
    segmentBytes: 64 * 1024 * 1024,
    maxBytes: undefined,
    maxAge: 1e9,
    syncInterval: 50,
    excludedTypes: [],
    onFailure: 'stop',
    keepsUnread: false,
    onFull: 'drop-oldest',
    deadLetters: { maxBytes: 1024 * 1024, keepsContent: false, onError: () => {} },
    onCursorError: () => {},
    delimiter: 10,
    registry: MessageRegistry.builtin(),
    ...options,
  });
}

/** Appends numbered messages, as those of one chunk. @returns the offset after them */
export function appendNumbered(log: MessageLog, from: number, to: number): number {
  const end = log.append(runOf(numberedBlock(1, from, to), { firstSequence: from + 1 }));
  log.endChunk();
  return end;
}
