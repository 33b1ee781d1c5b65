// The actions of `sluice dead`.

import { once } from 'node:events';
import { InvalidArgumentError } from 'commander';
import type { BrokerError } from '../../client/broker-session.js';
import type { ClientOptions } from '../../client/client-options.js';
import { SluiceClient } from '../../client/sluice-client.js';
import { describeError, SluiceError } from '../../errors.js';
import { formatBytes } from '../../formats.js';
import {
  deadLetterDisk,
  dropDeadLetters,
  NO_CONTENT,
  NO_REPLY,
  readDeadLetters,
  type StoredDeadLetter,
} from '../../log/dead-letters.js';
import { printable, printableJson, printableLines } from '../../printable.js';
import { EXIT } from '../common/exit-codes.js';
import type { ConnectFlags } from '../common/flags.js';
import { printError } from '../common/output.js';
import { resolveConnection } from '../common/resolve-connection.js';
import { columns, counted } from '../common/terminal.js';

export interface DeadFlags extends ConnectFlags {
  all?: boolean;
  group?: string;
  reason?: string;
  json?: boolean;
}

type Matches = (letter: StoredDeadLetter) => boolean;

/** Rows of the list that are aligned together. */
const PAGE = 1000;
/** Confirmed messages are dropped after this number of them, or with the next one after this time, in ms. */
const [DROP_COUNT, DROP_INTERVAL] = [100, 1000];
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How long the broker may still take to connect or to confirm a message after a signal, in ms. */
const GRACE = 1000;

/** Lists them, the oldest first. @returns the exit code, as all actions do */
export async function ls(folder: string, ids: readonly string[], flags: DeadFlags): Promise<number> {
  if (ids.length > 0) throw new InvalidArgumentError('ls: takes no IDs; use show');
  const head = ['id', 'stored', 'reason', 'type', 'sender', 'group', 'size'];
  let rows = [head];
  for await (const letter of find(folder, matchesFlags(flags))) {
    const { content: _, ...details } = letter;
    if (flags.json === true) await print(`${printableJson(details)}\n`);
    else rows.push(rowOf(letter));
    if (rows.length < PAGE) continue;
    await print(columns(rows));
    rows = [];
  }
  if (flags.json !== true) await print(rows[0] === head && rows.length === 1 ? 'none\n' : columns(rows));
  return EXIT.OK;
}

/** Prints them with their content. */
export async function show(folder: string, ids: readonly string[], flags: DeadFlags): Promise<number> {
  const selected = select(ids, flags);
  for await (const { content, ...letter } of find(folder, selected.matches)) {
    const text = content === undefined ? undefined : Buffer.from(content, 'base64').toString();
    if (flags.json === true) await print(`${printableJson({ ...letter, content: text })}\n`);
    else await print(describe(letter, text));
  }
  return selected.exitCode();
}

/** Sends them to the broker again, and drops those that it has confirmed. A signal stops it after the current one. */
export async function retry(folder: string, ids: readonly string[], flags: DeadFlags): Promise<number> {
  const selected = select(ids, flags);
  const connection = resolveConnection(flags, 'relay');
  let client: SluiceClient | undefined;
  let sendsFor: string | undefined;
  let rejection: BrokerError | undefined;
  /** Connects to send what a crawler has sent before. */
  const connectFor = async (crawlerId: string | undefined): Promise<SluiceClient> => {
    const previous = client;
    if (previous !== undefined && crawlerId === sendsFor) return previous;
    const next = new SluiceClient({
      ...connection,
      hello: helloFor(crawlerId, connection),
      reconnect: false,
    });
    next.on('rejected', (error) => {
      rejection = error;
    });
    client = next;
    sendsFor = crawlerId;
    // All that it has sent is confirmed.
    await previous?.close(0);
    return next.connect();
  };
  // What is rejected again becomes another dead letter, which is not sent a third time.
  const wanted = new Set<number>();
  for await (const { id } of find(folder, selected.matches)) wanted.add(id);
  /** Sends a message. @returns why it was not accepted, if it was not */
  const send = async (content: string, crawlerId: string | undefined): Promise<string | undefined> => {
    const sender = await connectFor(crawlerId);
    const before = sender.rejectedByBroker;
    rejection = undefined;
    sender.publishRaw(Buffer.from(content, 'base64'));
    await sender.flush();
    if (rejection !== undefined) return describeRejection(rejection);
    return sender.rejectedByBroker > before ? NO_REPLY : undefined;
  };
  let sent = 0;
  let failed = 0;
  let confirmed: number[] = [];
  let droppedAt = performance.now();
  const dropConfirmed = async (): Promise<void> => {
    if (confirmed.length > 0) await dropDeadLetters(folder, confirmed);
    confirmed = [];
    droppedAt = performance.now();
  };
  const stopping = new AbortController();
  const graceOver = new AbortController();
  /** A second signal ends the grace period: what is confirmed is dropped in any case. */
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping.signal.aborted) return graceOver.abort();
    stopping.abort(signal);
    setTimeout(() => graceOver.abort(), GRACE).unref();
  };
  try {
    await connectFor(undefined);
    for (const signal of SIGNALS) process.on(signal, stop);
    for await (const { id, content, crawlerId } of find(folder, (letter) => wanted.has(letter.id))) {
      const fault =
        content === undefined
          ? NO_CONTENT
          : await unlessAborted(send(content, crawlerId), graceOver.signal, 'it was not confirmed');
      if (fault === undefined) {
        sent++;
        confirmed.push(id);
      } else {
        failed++;
        printError(`sluice dead: ${id}: ${fault}`);
      }
      if (confirmed.length >= DROP_COUNT || performance.now() - droppedAt >= DROP_INTERVAL)
        await dropConfirmed();
      if (stopping.signal.aborted) break;
    }
  } finally {
    await dropConfirmed().finally(() => client?.close(stopping.signal.aborted ? 0 : undefined));
    for (const signal of SIGNALS) process.off(signal, stop);
  }
  await print(`sent ${counted(sent, 'message')}\n`);
  if (stopping.signal.aborted) printError(`sluice dead: stopped by ${stopping.signal.reason}`);
  return failed > 0 || stopping.signal.aborted ? EXIT.FAILURE : selected.exitCode();
}

/** Settles like the promise or, once the signal is aborted, with `instead`. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, instead: T): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => resolve(instead);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}

/** Only a relay may have the ID of a crawler without taking its place. */
function helloFor(crawlerId: string | undefined, { hello }: ClientOptions): ClientOptions['hello'] {
  return hello?.role === 'relay' ? { ...hello, crawlerId } : hello;
}

function describeRejection({ code, message }: BrokerError): string {
  return `the broker has rejected it: ${code}: ${message}`;
}

/** Drops them. */
export async function drop(folder: string, ids: readonly string[], flags: DeadFlags): Promise<number> {
  const selected = select(ids, flags);
  const found: number[] = [];
  for await (const { id } of find(folder, selected.matches)) found.push(id);
  if (found.length > 0) await dropDeadLetters(folder, found);
  await print(`dropped ${counted(found.length, 'message')}\n`);
  return selected.exitCode();
}

/** @throws SluiceError `LOG_UNUSABLE` */
async function* find(folder: string, matches: Matches): AsyncGenerator<StoredDeadLetter, void> {
  try {
    for await (const letter of readDeadLetters(deadLetterDisk(folder))) if (matches(letter)) yield letter;
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError('LOG_UNUSABLE', `${folder}: ${describeError(cause)}`, { cause });
  }
}

function matchesFlags({ group, reason }: DeadFlags): Matches {
  return (letter) =>
    (group === undefined || letter.group === group) && (reason === undefined || letter.reason === reason);
}

/**
 * Those with one of the IDs, or all that match the flags.
 * @throws InvalidArgumentError
 */
function select(ids: readonly string[], flags: DeadFlags): { readonly matches: Matches; exitCode(): number } {
  if (ids.length > 0 === (flags.all === true))
    throw new InvalidArgumentError('needs either IDs, as printed by sluice dead ls, or --all');
  const isWanted = matchesFlags(flags);
  if (ids.length === 0) return { matches: isWanted, exitCode: () => EXIT.OK };
  const missing = new Set(ids.map(parseId));
  return {
    matches: (letter) => isWanted(letter) && missing.delete(letter.id),
    exitCode: () => {
      for (const id of missing) printError(`sluice dead: there is no dead letter ${id}`);
      return missing.size === 0 ? EXIT.OK : EXIT.FAILURE;
    },
  };
}

function parseId(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('an ID is a number');
  return Number(text);
}

function rowOf({ id, at, reason, messageType, crawlerId, connectionId, group, bytes }: StoredDeadLetter) {
  const sender = crawlerId ?? connectionId;
  const names = [reason, messageType ?? '-', sender, group ?? '-'].map((name) => printable(name, '?'));
  return [String(id), new Date(at).toISOString(), ...names, formatBytes(bytes)];
}

function describe(letter: Omit<StoredDeadLetter, 'content'>, content: string | undefined): string {
  const { id, at, issues = [], sample, position, ...details } = letter;
  const lines = [
    `${id}  ${new Date(at).toISOString()}`,
    ...Object.entries({ ...details, position })
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `  ${name}: ${printable(String(value), '?')}`),
    ...issues.map(({ path, code }) => `  issue: ${printable(path, '?') || 'message'} ${code}`),
    content === undefined
      ? `  beginning: ${printableLines(sample ?? '')}`
      : `  content: ${printableLines(content)}`,
  ];
  return `${lines.join('\n')}\n`;
}

async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
