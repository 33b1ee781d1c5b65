// A batch after validation: a chunk in a slab, and its verdict.

import { FrameRun } from '../../src/delivery/frame-run.js';
import { Gatherer } from '../../src/delivery/gatherer.js';
import { Chunk, Lane } from '../../src/dispatch/lane.js';
import { batchTask } from '../../src/dispatch/verdict.js';
import { VerdictReader } from '../../src/dispatch/verdict-reader.js';
import { CopyPool } from '../../src/memory/copy-pool.js';
import { SlabPool } from '../../src/memory/slab-pool.js';
import { MessageParser } from '../../src/protocol/message-parser.js';
import { BatchValidator } from '../../src/worker/batch-validator.js';

export const NEWLINE = 10;

const gatherer = new Gatherer(new CopyPool(1024 * 1024));

export interface Batch {
  readonly chunk: Chunk;
  readonly verdict: VerdictReader;
  /** Number of messages. */
  readonly count: number;
}

/** Copies bytes into a slab, as if a connection had received them, and validates them. */
export function batchOf(bytes: Buffer): Batch {
  const slab = new SlabPool(Math.max(256 * 1024, bytes.length)).acquire(bytes.length);
  bytes.copy(slab.arena.bytes, slab.base);
  const end = slab.base + bytes.length;
  const lane = new Lane(
    () => true,
    () => {},
  );
  const chunk = new Chunk(lane, { slab, start: slab.base, end }, 0);
  const validator = new BatchValidator(new MessageParser(), NEWLINE);
  const verdict = new VerdictReader(validator.validate(batchTask([chunk])));
  return { chunk, verdict, count: verdict.messages };
}

/** The batch as one run for delivery. */
export function runOf({ chunk, verdict, count }: Batch, isUndelimited = false): FrameRun {
  return new FrameRun({
    sender: { id: 'c-1', crawlerId: undefined },
    chunk,
    verdict,
    index: 0,
    first: 0,
    count,
    isUndelimited,
    isValid: true,
    firstSequence: 1,
    delimiter: NEWLINE,
    gatherer,
  });
}
