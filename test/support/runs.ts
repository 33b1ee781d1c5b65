// Runs of messages as the pipeline forwards them, without a connection.

import { MessageParser, SlabPool } from 'sluice';
import { FrameRun, type RunSender } from '#src/delivery/frame-run.js';
import { Gatherer } from '#src/delivery/gatherer.js';
import { Chunk, Lane } from '#src/dispatch/lane.js';
import { RunKind } from '#src/dispatch/verdict.js';
import { VerdictReader } from '#src/dispatch/verdict-reader.js';
import { CopyPool } from '#src/memory/copy-pool.js';
import { BatchValidator } from '#src/worker/batch-validator.js';

const NEWLINE = 10;
const LARGEST_SLAB = 1024 * 1024;
const slabs = new SlabPool(256 * 1024);

export interface RunsOptions {
  /** Default: a connection without a crawler ID. */
  readonly sender?: Partial<RunSender>;
  /** Sequence number of the first message. Default: 1. */
  readonly firstSequence?: number;
  readonly firstOffset?: number;
  readonly gatherer?: Gatherer;
  /** Monotonic time in ms. Default: 0. */
  readonly receivedAt?: number;
  /** Number of bytes before the messages in their slab. Default: 0. */
  readonly padding?: number;
}

/** The runs of lines that one crawler has sent. */
export function runsOf(text: string, options: RunsOptions = {}): FrameRun[] {
  const { sender, firstOffset, receivedAt = 0, padding = 0 } = options;
  const { gatherer = new Gatherer(new CopyPool(LARGEST_SLAB)) } = options;
  const slab = slabs.acquire(padding + Buffer.byteLength(text));
  const start = slab.base + padding;
  const end = start + slab.arena.bytes.write(text, start);
  const lane = new Lane(
    () => true,
    () => {},
  );
  const chunk = new Chunk(lane, { slab, start, end }, receivedAt);
  const batches = new BatchValidator(new MessageParser(), NEWLINE, { checksums: true });
  const task = { id: 0, arenas: [slab.arena.memory], ranges: [0, start, end], maxDetailedRejections: 0 };
  const verdict = new VerdictReader(batches.validate(task));
  const runs: FrameRun[] = [];
  let { firstSequence = 1 } = options;
  for (let index = 0; index < verdict.runsEnd(0); index++) {
    const count = verdict.frameCount(index);
    runs.push(
      new FrameRun({
        sender: { id: 'c-1', crawlerId: undefined, ...sender },
        chunk,
        verdict,
        index,
        first: verdict.firstFrame(index),
        count,
        isUndelimited: verdict.runKind(index) !== RunKind.DELIMITED,
        isValid: true,
        firstSequence,
        firstOffset,
        delimiter: NEWLINE,
        gatherer,
      }),
    );
    firstSequence += count;
  }
  return runs;
}

/** The only run of these lines. */
export function runOf(text: string, options?: RunsOptions): FrameRun {
  const [run, ...others] = runsOf(text, options);
  if (run === undefined || others.length > 0) throw new Error('not one run');
  return run;
}
