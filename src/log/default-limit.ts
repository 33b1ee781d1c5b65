// The default size of a log: a share of the free space on its disk, which other files may fill later.

import { statfs } from 'node:fs/promises';
import { type LogDisk, readFile, replaceFile } from './disk.js';
import { findSegments } from './segments.js';

const MiB = 1024 * 1024;
const MIN_BYTES = 1 * MiB;
const MAX_BYTES = 16 * 1024 * MiB;
const FREE_SHARE = 0.1;
/** Name of the file with the limit of the previous start, in bytes. */
const PREVIOUS = 'limit.json';
/** Segments by which a log at its limit may be smaller at a start: full files are removed, others are cut to their content. */
const MAX_MISSING = 3;
/** A log has at least this many segments: if it is small, they are too. */
export const MIN_SEGMENTS = 4;

/**
 * A tenth of the free space, at most 16 GiB, but at least what the log occupies. If other files have filled the disk since,
 * the limit of the previous start remains, as far as the log needs it: restarts neither remove messages nor raise it.
 */
export async function defaultMaxBytes(folder: string, disk: LogDisk, segmentBytes: number): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  const { segments, spares, unused } = await findSegments(disk);
  const size = [...segments, ...spares, ...unused].reduce((sum, file) => sum + file.size, 0);
  // What the log already occupies counts as free, so that the limit stays the same.
  const share = Math.max(MIN_BYTES, Math.min(MAX_BYTES, (bavail * bsize + size) * FREE_SHARE));
  const previous = await readPrevious(disk);
  const segment = Math.min(segmentBytes, (previous ?? size) / MIN_SEGMENTS);
  const needed = Math.min(previous ?? Number.POSITIVE_INFINITY, size + MAX_MISSING * segment);
  const limit = Math.floor(Math.max(share, size, needed));
  // A disk that fails must not keep the log from being opened.
  if (limit !== previous) await replaceFile(disk, PREVIOUS, Buffer.from(`${limit}\n`)).catch(() => {});
  return limit;
}

async function readPrevious(disk: LogDisk): Promise<number | undefined> {
  const content = await readFile(disk, PREVIOUS).catch(() => '');
  return Number(content.toString()) || undefined;
}
