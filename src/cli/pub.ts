// `sluice pub`: sends NDJSON from a file or from standard input, and reports what the broker refused.

import { createReadStream, fstatSync, statSync } from 'node:fs';
import type { BrokerError } from '../client/broker-session.js';
import type { ClientOptions } from '../client/client-options.js';
import { SluiceClient } from '../client/sluice-client.js';
import { describeError } from '../errors.js';
import { EXIT } from './exit-codes.js';
import { Progress } from './progress.js';
import { formatBytes, formatCount } from './terminal.js';

const READ_SIZE = 256 * 1024;
const NEWLINE = 0x0a;

/** @returns the exit code */
export async function pub(file: string, connection: ClientOptions): Promise<number> {
  let size: number;
  try {
    size = file === '-' ? fstatSync(0).size : statSync(file).size;
  } catch (error) {
    process.stderr.write(`sluice pub: ${describeError(error)}\n`);
    return EXIT.NO_INPUT;
  }
  const client = new SluiceClient({ ...connection, reconnect: false });
  const publisher = new Publisher(client, size);
  await client.connect();
  const input = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: READ_SIZE });
  try {
    await publisher.run(input);
  } catch (error) {
    publisher.finish();
    process.stderr.write(`sluice pub: ${describeError(error)}\n`);
    return EXIT.FAILURE;
  }
  await client.close();
  return publisher.finish();
}

class Publisher {
  readonly #client: SluiceClient;
  readonly #progress: Progress;
  #sentBytes = 0;
  #lines = 0;
  #errors = 0;

  constructor(client: SluiceClient, size: number) {
    this.#client = client;
    this.#progress = new Progress(size);
    client.on('refused', (error) => this.#report(error));
  }

  async run(input: AsyncIterable<Buffer>): Promise<void> {
    /** Pieces of the line whose end has not been read yet. */
    let partial: Buffer[] = [];
    for await (const bytes of input) {
      const end = bytes.lastIndexOf(NEWLINE) + 1;
      if (end > 0) {
        await this.#send(Buffer.concat([...partial, bytes.subarray(0, end)]));
        partial = [];
      }
      if (end < bytes.length) partial.push(bytes.subarray(end));
      this.#progress.update(this.#sentBytes, () => `${formatCount(this.#lines)} lines`);
    }
    if (partial.length > 0) await this.#send(Buffer.concat(partial));
    await this.#client.flush();
  }

  /** @returns the exit code */
  finish(): number {
    this.#progress.clear();
    if (this.#progress.isLive || this.#errors > 0) {
      const refused = this.#errors === 0 ? '' : `, ${formatCount(this.#errors)} error replies`;
      process.stderr.write(
        `sent ${formatCount(this.#lines)} lines, ${formatBytes(this.#sentBytes)}${refused}\n`,
      );
    }
    return this.#errors > 0 ? EXIT.FAILURE : EXIT.OK;
  }

  async #send(bytes: Buffer): Promise<void> {
    this.#sentBytes += bytes.length;
    this.#lines += Math.max(1, countLines(bytes));
    if (!this.#client.publishRaw(bytes)) await this.#client.drained();
  }

  #report({ code, message, messageType, line, issues }: BrokerError): void {
    this.#errors++;
    const place = line === undefined ? '' : `line ${line}: `;
    const type = messageType === undefined ? '' : ` [${messageType}]`;
    const details = (issues ?? []).map((issue) => `${issue.path || 'message'} ${issue.message}`).join('; ');
    this.#progress.clear();
    process.stderr.write(`${place}${code}${type}: ${details || message}\n`);
  }
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}
