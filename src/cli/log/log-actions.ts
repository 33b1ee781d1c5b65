// The actions of `sluice log`. All but `truncate` and `forget` only read.

import { once } from 'node:events';
import { InvalidArgumentError } from 'commander';
import { describeError, SluiceError } from '../../errors.js';
import { formatBytes, formatCount } from '../../formats.js';
import { Cursors, LOG_CURSORS } from '../../log/cursors.js';
import { FolderDisk } from '../../log/disk.js';
import { FolderLock } from '../../log/folder-lock.js';
import { isGap, type LogGap, readLog } from '../../log/log-reader.js';
import { formatEpoch, formatPosition, type Position } from '../../log/position.js';
import { findSegments, type Segment } from '../../log/segments.js';
import { StoredMessageFilter } from '../../log/stored-messages.js';
import { MessageRegistry } from '../../messages/message-registry.js';
import { printable, printableJson, printableLines } from '../../printable.js';
import { Filter } from '../../routing/filter.js';
import { EXIT } from '../common/exit-codes.js';
import { typeList } from '../common/flags.js';
import { printError } from '../common/output.js';
import { columns, counted } from '../common/terminal.js';

export interface LogFlags {
  from?: string;
  to?: string;
  types?: string;
  job?: string[];
  crawler?: string[];
  meta?: boolean;
  cursor?: string;
  json?: boolean;
}

/** A log, as found on the disk. */
interface FoundLog {
  readonly disk: FolderDisk;
  readonly segments: readonly Segment[];
  /** Names of damaged segments. */
  readonly damaged: readonly string[];
  readonly epoch: string;
}

/** Lists the files and the cursors. @returns the exit code, as all actions do */
export async function ls(folder: string, { json = false }: LogFlags): Promise<number> {
  const { disk, segments, epoch } = await findLog(folder);
  const end = await endOf(disk, segments);
  const files = segments.map(({ name, size, header: { first, created } }, index) => {
    const messages = (segments[index + 1]?.header.first ?? end) - first;
    return { name, first, messages, bytes: size, created: new Date(created).toISOString() };
  });
  const cursors = [...(await cursorsOf(disk))].map(([name, position]) => {
    const behind = position.epoch === epoch ? end - position.offset : undefined;
    return { name, position: formatPosition(position), behind };
  });
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const first = files[0]?.first ?? end;
  if (json) print(`${printableJson({ epoch, first, end, bytes, files, cursors }, 2)}\n`);
  else {
    const table = [
      ['file', 'messages', 'size', 'since'],
      ...files.map((file) => [file.name, formatCount(file.messages), formatBytes(file.bytes), file.created]),
    ];
    const cursorTable = cursors.map(({ name, position, behind }) => {
      const lag = behind === undefined ? 'of another log' : `${formatCount(behind)} behind`;
      return [printable(name, '?'), position, lag];
    });
    print(`epoch ${epoch}, offsets ${first} to ${end}, ${formatBytes(bytes)}\n\n${columns(table)}`);
    if (cursors.length > 0) print(`\n${columns([['cursor', 'position', ''], ...cursorTable])}`);
  }
  return EXIT.OK;
}

/** Prints messages, one per line. */
export async function cat(folder: string, flags: LogFlags): Promise<number> {
  const { disk, segments, epoch } = await findLog(folder);
  const from = flags.from === undefined ? 0 : offsetOf('--from', flags.from, epoch);
  const to = flags.to === undefined ? Number.POSITIVE_INFINITY : offsetOf('--to', flags.to, epoch);
  const [oldest] = segments;
  if (oldest === undefined) return EXIT.OK;
  const { delimiter, jobSeed } = oldest.header;
  const registry = MessageRegistry.builtin();
  const types = typeList(flags.types) ?? ['*'];
  const filter = new Filter(
    registry,
    { id: 'cat', types, jobIds: flags.job, crawlerIds: flags.crawler, meta: flags.meta },
    jobSeed,
  );
  const stored = new StoredMessageFilter(registry, filter, delimiter);
  let isComplete = true;
  for await (const part of readLog(disk, from)) {
    if (isGap(part)) {
      isComplete = false;
      printError(`sluice log: ${describeGap(part)}`);
      continue;
    }
    if (part.header.first >= to) break;
    const messages = stored.select(part, from, to);
    if (messages === undefined) continue;
    const text = process.stdout.isTTY ? printableLines(messages.bytes.toString()) : messages.bytes;
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  }
  return isComplete ? EXIT.OK : EXIT.FAILURE;
}

/** Reads all messages, and says what is missing. */
export async function verify(folder: string, { json = false }: LogFlags): Promise<number> {
  const { disk, segments, damaged, epoch } = await findLog(folder);
  let messages = 0;
  let bytes = 0;
  const found: LogGap[] = [];
  for await (const part of readLog(disk)) {
    if (isGap(part)) found.push(part);
    else {
      messages += part.header.count;
      bytes += part.body.length;
    }
  }
  // A broker that is using the log may have removed the oldest messages meanwhile, or used their files again.
  const oldest = (await findSegments(disk)).segments[0]?.header.first ?? 0;
  const gaps = found.filter(({ to }) => to > oldest);
  const files = segments.length;
  const isIntact = gaps.length === 0 && damaged.length === 0;
  if (json) print(`${printableJson({ epoch, files, damaged, messages, bytes, gaps }, 2)}\n`);
  else {
    for (const gap of gaps) print(`${describeGap(gap)}\n`);
    for (const name of damaged) print(`${name} is unreadable: its header is damaged\n`);
    const content = `${counted(messages, 'message')} (${formatBytes(bytes)}) in ${counted(files, 'file')}`;
    const faults = [
      ...(gaps.length > 0 ? [counted(gaps.length, 'gap')] : []),
      ...(damaged.length > 0 ? [counted(damaged.length, 'damaged file')] : []),
    ];
    print(`${content}: ${isIntact ? 'intact' : faults.join(', ')}\n`);
  }
  return isIntact ? EXIT.OK : EXIT.FAILURE;
}

/** Removes files that contain only messages before a position. The newest file stays. */
export async function truncate(folder: string, flags: LogFlags): Promise<number> {
  if (flags.to === undefined) throw new InvalidArgumentError('--to: truncate needs a position');
  await findLog(folder);
  const lock = await FolderLock.acquire(folder);
  try {
    const { disk, segments, epoch } = await findLog(folder);
    const to = offsetOf('--to', flags.to, epoch);
    const removed = segments.filter((_, index) => (segments[index + 1]?.header.first ?? Infinity) <= to);
    for (const { name } of removed) await disk.remove(name);
    await disk.syncFolder();
    const bytes = removed.reduce((sum, { size }) => sum + size, 0);
    print(`removed ${counted(removed.length, 'file')}, ${formatBytes(bytes)}\n`);
  } finally {
    await lock.release();
  }
  return EXIT.OK;
}

/** Removes a cursor. */
export async function forget(folder: string, { cursor }: LogFlags): Promise<number> {
  if (cursor === undefined) throw new InvalidArgumentError('--cursor: forget needs a name');
  const { disk } = await findLog(folder);
  const lock = await FolderLock.acquire(folder);
  try {
    const cursors = await Cursors.open(LOG_CURSORS, disk, (error) => {
      throw error;
    });
    const isKnown = cursors.get(cursor) !== undefined;
    cursors.delete(cursor);
    await cursors.close();
    print(isKnown ? 'removed 1 cursor\n' : 'no such cursor\n');
    return isKnown ? EXIT.OK : EXIT.FAILURE;
  } finally {
    await lock.release();
  }
}

/** @throws SluiceError `LOG_UNUSABLE` */
async function findLog(folder: string): Promise<FoundLog> {
  const disk = new FolderDisk(folder);
  try {
    const { segments, damaged } = await findSegments(disk);
    const newest = segments.at(-1);
    if (newest === undefined && damaged.length > 0) throw new Error('all files of the log are damaged');
    if (newest === undefined) throw new Error('there is no durable log in this folder');
    const epoch = formatEpoch(newest.header.epoch);
    return { disk, segments, damaged: damaged.map(({ name }) => name), epoch };
  } catch (cause) {
    throw new SluiceError('LOG_UNUSABLE', `${folder}: ${describeError(cause)}`, { cause });
  }
}

/** Offset after the newest message. */
async function endOf(disk: FolderDisk, segments: readonly Segment[]): Promise<number> {
  let end = segments.at(-1)?.header.first ?? 0;
  for await (const part of readLog(disk, end))
    end = isGap(part) ? part.to : part.header.first + part.header.count;
  return end;
}

async function cursorsOf(disk: FolderDisk): Promise<ReadonlyMap<string, Position>> {
  try {
    return await Cursors.read(LOG_CURSORS, disk);
  } catch (error) {
    printError(`sluice log: the cursors are unreadable: ${describeError(error)}`);
    return new Map();
  }
}

const POSITION = /^(?:([0-9a-f]{16}):)?(\d{1,15})$/;

/** @throws InvalidArgumentError */
function offsetOf(flag: string, text: string, epoch: string): number {
  const [, ofLog = epoch, offset] = POSITION.exec(text) ?? [];
  if (offset === undefined) throw new InvalidArgumentError(`${flag}: must be an offset or a position`);
  if (ofLog !== epoch) throw new InvalidArgumentError(`${flag}: is a position of another log`);
  return Number(offset);
}

function describeGap({ from, to, reason }: LogGap): string {
  return `messages ${from} to ${to - 1} are missing: ${reason}`;
}

function print(text: string): void {
  process.stdout.write(text);
}
