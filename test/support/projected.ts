// Events of messages with projected fields, without a broker: the stages from a received range to its events.

import type { MessageEvent, MessageRegistry, SocketConnection } from 'sluice';
import { messageEvents } from '#src/connection/message-event.js';
import { FrameRun } from '#src/delivery/frame-run.js';
import { Gatherer } from '#src/delivery/gatherer.js';
import { Chunk, Lane } from '#src/dispatch/lane.js';
import { type ParserSettings, RunKind, type Verdict } from '#src/dispatch/verdict.js';
import { VerdictReader } from '#src/dispatch/verdict-reader.js';
import { CopyPool } from '#src/memory/copy-pool.js';
import { SlabPool } from '#src/memory/slab-pool.js';
import { createProjection } from '#src/pattern/projection.js';
import { BatchValidator } from '#src/worker/batch-validator.js';
import { createParser } from '#src/worker/create-parser.js';
import { WORKER_SETTINGS } from './worker-settings.js';

export class ProjectedEvents {
  readonly #registry: MessageRegistry;
  readonly #validator: BatchValidator;
  readonly #projection: ReturnType<typeof createProjection>;
  readonly #slabs = new SlabPool(4 * 1024 * 1024);

  constructor(
    registry: MessageRegistry,
    fields: Readonly<Record<string, readonly string[]>>,
    settings: Partial<ParserSettings> = {},
  ) {
    const all: ParserSettings = {
      ...WORKER_SETTINGS,
      ...settings,
      fields: new Map(Object.entries(fields)),
    };
    this.#registry = registry;
    this.#projection = createProjection(registry, all.fields);
    const parser = createParser(registry, all);
    this.#validator = new BatchValidator(parser, 10, { ...all, projection: this.#projection });
  }

  /** The events of valid messages, range by range. @param inline whether only patterns are used */
  events(texts: readonly string[], inline = false): { events: MessageEvent[]; verdict: Verdict } {
    const size = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    const slab = this.#slabs.acquire(size);
    const ranges: number[] = [];
    let end = slab.base;
    for (const text of texts) {
      const start = end;
      end += slab.arena.bytes.write(text, start);
      ranges.push(0, start, end);
    }
    const task = { id: 0, arenas: [slab.arena.memory], ranges, maxDetailedRejections: 10 };
    const verdict = inline ? this.#validator.validateByPatterns(task) : this.#validator.validate(task);
    if (verdict === undefined) throw new Error('a message matches no pattern');
    const reader = new VerdictReader(structuredClone(verdict));
    const events = texts.flatMap((_, range) => this.#eventsOf(reader, range, slab));
    // The events must not depend on the slab.
    slab.arena.bytes.fill('#', slab.base, end);
    return { events, verdict };
  }

  #eventsOf(verdict: VerdictReader, range: number, slab: ReturnType<SlabPool['acquire']>): MessageEvent[] {
    const lane = new Lane(
      () => true,
      () => {},
    );
    const chunk = new Chunk(lane, { slab, start: slab.base, end: slab.base }, 0);
    const events: MessageEvent[] = [];
    for (let run = verdict.firstRun(range); run < verdict.runsEnd(range); run++) {
      const kind = verdict.runKind(run);
      if (kind === RunKind.REJECTED || kind === RunKind.REPORTED || kind === RunKind.CONTROL) continue;
      const forwarded = new FrameRun({
        sender: { id: 'c-1', crawlerId: undefined },
        chunk,
        verdict,
        index: run,
        first: verdict.firstFrame(run),
        count: verdict.frameCount(run),
        isUndelimited: kind !== RunKind.DELIMITED,
        isValid: run === 0 || verdict.runKind(run - 1) !== RunKind.REPORTED,
        firstSequence: 1,
        delimiter: 10,
        gatherer: new Gatherer(new CopyPool(1024 * 1024)),
      });
      const connection = { id: 'c-1' } as SocketConnection;
      events.push(...messageEvents(this.#registry, connection, forwarded, this.#projection));
    }
    return events;
  }
}
