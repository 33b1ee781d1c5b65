// A batch as the stages behind validation see it: a chunk in a slab, and the verdict on it.

import { FrameRun } from '../../src/delivery/frame-run.js';
import { Chunk, Lane } from '../../src/dispatch/lane.js';
import { batchTask } from '../../src/dispatch/verdict.js';
import { VerdictReader } from '../../src/dispatch/verdict-reader.js';
import { CopyPool } from '../../src/memory/copy-pool.js';
import { SlabPool } from '../../src/memory/slab-pool.js';
import { MessageParser } from '../../src/protocol/message-parser.js';
import { BatchValidator } from '../../src/worker/batch-validator.js';

export const NEWLINE = 10;

const copies = new CopyPool(1024 * 1024);

export interface Batch {
  readonly chunk: Chunk;
  readonly verdict: VerdictReader;
  /** Messages in it. */
  readonly count: number;
}

/** The bytes in a slab, as a connection would have received them, and checked. */
export function batchOf(bytes: Buffer): Batch {
  const slab = new SlabPool(Math.max(256 * 1024, bytes.length)).acquire(bytes.length);
  bytes.copy(slab.arena.bytes, slab.base);
  const end = slab.base + bytes.length;
  const lane = new Lane(
    () => {},
    () => {},
  );
  const chunk = new Chunk(lane, { slab, start: slab.base, end }, 0);
  const validator = new BatchValidator(new MessageParser(), NEWLINE);
  const verdict = new VerdictReader(validator.validate(batchTask([chunk])));
  return { chunk, verdict, count: verdict.messages };
}

/** The batch as one run, on its way to subscribers. */
export function runOf({ chunk, verdict, count }: Batch, isUndelimited = false): FrameRun {
  return new FrameRun({
    source: { id: 'c-1', crawlerId: undefined },
    chunk,
    verdict,
    first: 0,
    count,
    isUndelimited,
    firstSequence: 1,
    delimiter: NEWLINE,
    copies,
  });
}
