// Sends NDJSON from a file or from standard input, and reports rejected messages.

import type { Readable } from 'node:stream';
import type { BrokerError } from '../../client/broker-session.js';
import { SluiceClient } from '../../client/sluice-client.js';
import { resolveOptions } from '../../config/config.js';
import { describeError } from '../../errors.js';
import { formatBytes } from '../../formats.js';
import { EXIT } from '../common/exit-codes.js';
import type { ConnectFlags } from '../common/flags.js';
import { openInput } from '../common/input.js';
import { printError } from '../common/output.js';
import { Progress } from '../common/progress.js';
import { resolveConnection } from '../common/resolve-connection.js';
import { atOffset, counted } from '../common/terminal.js';
import { MessageBlocks } from './message-blocks.js';

const READ_SIZE = 256 * 1024;
const NEWLINE = 0x0a;

/** @returns the exit code */
export async function publishFile(file: string, flags: ConnectFlags): Promise<number> {
  const connection = resolveConnection(flags);
  const input = await openInput('pub', file);
  if (input === undefined) return EXIT.NO_INPUT;
  const client = new SluiceClient({ ...connection, reconnect: false });
  const publisher = new Publisher(client, input.size);
  try {
    await client.connect();
    await publisher.run(input.file?.createReadStream({ highWaterMark: READ_SIZE }) ?? process.stdin);
  } catch (error) {
    // If the client never connected, the command fails in the same way as the others.
    if (client.statistics.connections === 0) throw error;
    publisher.finish();
    printError(`sluice pub: ${describeError(error)}`);
    return EXIT.FAILURE;
  } finally {
    await client.close();
    await input.file?.close();
  }
  return publisher.finish();
}

class Publisher {
  readonly #client: SluiceClient;
  readonly #progress: Progress;
  /** Numbers of the published lines that end where the input has no newline. */
  readonly #cuts: number[] = [];
  #sentBytes = 0;
  #published = 0;
  #errors = 0;
  /** Rejected messages, with or without an error reply. */
  #rejected = 0;
  /** Whether a RATE_LIMITED reply was received: one such reply stands for all messages that were rejected together. */
  #isLimited = false;

  constructor(client: SluiceClient, size: number) {
    this.#client = client;
    this.#progress = new Progress(size);
    client.on('rejected', (error) => this.#report(error));
  }

  async run(input: Readable): Promise<void> {
    // While the input is idle, nothing else would notice that the connection has closed.
    this.#client.once('closed', (error) => input.destroy(error));
    const blocks = new MessageBlocks();
    for await (const bytes of input) {
      const block = blocks.push(bytes as Buffer);
      if (block !== undefined) await this.#send(block);
      this.#progress.update(this.#sentBytes, () => counted(this.#lines, 'line'));
    }
    const rest = blocks.end();
    if (rest !== undefined) await this.#send(rest);
    await this.#client.flush();
    this.#rejected = this.#client.rejectedByBroker;
  }

  /** @returns the exit code */
  finish(): number {
    this.#progress.clear();
    const isRejected = this.#errors > 0 || this.#rejected > 0;
    if (this.#progress.isLive || isRejected) {
      process.stderr.write(
        `sent ${counted(this.#lines, 'line')}, ${formatBytes(this.#sentBytes)}${this.#rejections}\n`,
      );
    }
    return isRejected ? EXIT.FAILURE : EXIT.OK;
  }

  get #rejections(): string {
    if (this.#errors === 0 && this.#rejected === 0) return '';
    const replies = `, ${counted(this.#errors, 'error reply', 'error replies')}`;
    // The default limit: the broker's own limit is not known here.
    const isWithinLimit = this.#errors < resolveOptions({}).maxErrorReplies && !this.#isLimited;
    if (isWithinLimit && this.#rejected <= this.#errors) return replies;
    return `${replies}; more may have been rejected than the broker reports: sluice check reports all`;
  }

  /** Lines of the input: the last one may have no newline. */
  get #lines(): number {
    return this.#published - this.#cutsBefore(this.#published);
  }

  async #send(bytes: Buffer): Promise<void> {
    this.#sentBytes += bytes.length;
    this.#published += countLines(bytes);
    if (bytes.at(-1) !== NEWLINE) this.#cuts.push(++this.#published);
    if (!this.#client.publishRaw(bytes)) await this.#client.drained();
  }

  #report({ code, message, messageType, line, offset, issues }: BrokerError): void {
    this.#errors++;
    if (code === 'RATE_LIMITED') this.#isLimited = true;
    const location = line === undefined ? '' : `line ${line - this.#cutsBefore(line)}: `;
    const type = messageType === undefined ? '' : ` [${messageType}]`;
    const details = (issues ?? []).map((issue) => `${issue.path || 'message'} ${issue.message}`).join('; ');
    this.#progress.printError(`${location}${code}${type}: ${details || message + atOffset(offset)}`);
  }

  #cutsBefore(line: number): number {
    return this.#cuts.filter((cut) => cut < line).length;
  }
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}
