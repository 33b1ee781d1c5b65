// Reads the messages of a log in order, also while a broker is writing it.

import type { LogDisk } from './disk.js';
import { type RecordHeader, RecordKind } from './format.js';
import { SegmentScanner } from './segment-scanner.js';
import { listSegments, type Segment } from './segments.js';

/** The sender of messages. */
export interface LoggedSource {
  /** Connection ID. */
  readonly id: string;
  readonly crawlerId: string | null;
}

/** Messages of one connection. The buffers are valid until the next ones are read. */
export interface LoggedRun {
  readonly header: RecordHeader;
  readonly index: Buffer;
  /** The messages, each with its delimiter. */
  readonly body: Buffer;
  readonly source: LoggedSource | undefined;
  /** Names of the message types, by the indexes in this run. */
  readonly types: readonly string[];
}

/** Messages that are missing, although later ones are there. */
export interface LogGap {
  /** Offsets of the first missing message and of the next one that is there. */
  readonly from: number;
  readonly to: number;
}

/**
 * The messages of a log, and where some are missing.
 * @param from offset of the first message. Runs are not cut: the first one may begin before it. Default: 0.
 * @throws LogFormatError
 */
export async function* readLog(disk: LogDisk, from = 0): AsyncGenerator<LoggedRun | LogGap, void> {
  const segments = await listSegments(disk);
  let expected = segments[0]?.header.first ?? 0;
  for (const [index, segment] of segments.entries()) {
    const end = segments[index + 1]?.header.first ?? Number.POSITIVE_INFINITY;
    if (end <= from) {
      expected = end;
      continue;
    }
    for await (const run of readSegment(disk, segment)) {
      const { first, count } = run.header;
      // What was written again elsewhere, after a failure of the disk.
      if (first >= end) break;
      if (first > expected) yield { from: expected, to: first };
      expected = first + count;
      if (expected > from) yield run;
    }
    if (end !== Number.POSITIVE_INFINITY && expected < end) {
      yield { from: expected, to: end };
      expected = end;
    }
  }
}

async function* readSegment(disk: LogDisk, { name, header }: Segment): AsyncGenerator<LoggedRun, void> {
  const file = await disk.open(name);
  const sources = new Map<number, LoggedSource>();
  let types: readonly string[] = [];
  try {
    for await (const part of new SegmentScanner(file, header).scan()) {
      if (part.isDamaged) continue;
      const { kind, source } = part.header;
      // The broker has written these, and their checksum is valid.
      if (kind === RecordKind.TYPES) types = JSON.parse(part.body.toString()) as string[];
      else if (kind === RecordKind.SOURCE)
        sources.set(source, JSON.parse(part.body.toString()) as LoggedSource);
      else if (kind === RecordKind.RUN) yield { ...part, source: sources.get(source), types };
    }
  } finally {
    await file.close();
  }
}
