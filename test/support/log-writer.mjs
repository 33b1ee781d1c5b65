// Appends numbered messages to the log in a folder, and prints how many are durable, until it is killed.
import { FolderDisk } from '#src/log/disk.js';
import { createHead, RecordKind } from '#src/log/format.js';
import { LogStore } from '#src/log/log-store.js';

const disk = await FolderDisk.create(process.argv[2] ?? '');
const log = await LogStore.open(disk, { segmentBytes: 256 * 1024, maxBytes: 1024 * 1024 });
const sender = { number: 1, id: 'c-1', crawlerId: undefined };
process.stdout.write(`${log.durable}\n`);
for (;;) {
  for (let round = 0; round < 20; round++) {
    const body = Buffer.from(`${JSON.stringify({ offset: log.end, text: 'x'.repeat(log.end % 3000) })}\n`);
    const fields = { kind: RecordKind.RUN, count: 1, time: Date.now(), sequence: 1, decidedBefore: 0 };
    log.append({ sender, fields, head: createHead(4, () => {}), body });
  }
  await log.whenDurable();
  process.stdout.write(`${log.durable}\n`);
}
