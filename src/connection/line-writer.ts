// Writes lines to an output that may be slow, full or closed, without ever waiting for it: lines are kept in a bounded
// queue. When it is full, the newest line is dropped and counted.

import { Fifo } from '../fifo.js';
import { withTimeout } from '../timeout.js';

/** An output for bytes. Must not block the calling thread. */
export interface LineOutput {
  /**
   * Not called again before `done`.
   * @param done called with the number of bytes written, or with an error if none were written
   */
  write(
    bytes: Buffer,
    done: (error: NodeJS.ErrnoException | null | undefined, written: number) => void,
  ): void;
}

export interface LineWriterOptions {
  /** Limit on bytes that are queued or being written. Default: 1 MiB. */
  readonly maxBytes?: number;
  /**
   * Called when there is room again after lines were dropped. A line that it writes appears where they were dropped.
   * @param dropped number of lines dropped since the last report
   * @param error the output's latest error since then, if any
   */
  readonly onDropped?: (dropped: number, error: NodeJS.ErrnoException | undefined) => void;
  /** Called with the first error of the output. Writing is retried. */
  readonly onError?: (error: NodeJS.ErrnoException) => void;
}

const DEFAULT_MAX_BYTES = 1024 * 1024;
/** The largest write in bytes, unless a single line is longer. */
const WRITE_SIZE = 64 * 1024;
/** Bytes reserved for the line of a drop report: lines are reported once this much room is free. */
const REPORT_SIZE = 1024;
/** Delay before a retry, in ms: if the output would block and cannot notify, and if it failed. */
const RETRY_BLOCKED = 100;
const RETRY_FAILED = 1000;

export class LineWriter {
  readonly #output: LineOutput;
  readonly #options: LineWriterOptions;
  readonly #maxBytes: number;
  readonly #queue = new Fifo<Buffer>();
  /** Bytes that are being written or will be retried. */
  #current: Buffer | undefined;
  #bytes = 0;
  #droppedLines = 0;
  #reportedLines = 0;
  #error: NodeJS.ErrnoException | undefined;
  #hasFailed = false;
  #isWaiting = false;
  #idleWaiters: (() => void)[] = [];

  constructor(output: LineOutput, options: LineWriterOptions = {}) {
    this.#output = output;
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  }

  /** Lines dropped since the start. */
  get droppedLines(): number {
    return this.#droppedLines;
  }

  /** Bytes that are queued or being written. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** @param line including its line feed */
  write(line: string): void {
    this.#reportDropped(Buffer.byteLength(line));
    this.#append(line);
  }

  /** Resolves when everything is written, immediately if the output fails, and after `timeout` ms at the latest. */
  async flush(timeout: number): Promise<void> {
    if (this.#bytes === 0 || this.#isWaiting) return;
    const idle = new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    await withTimeout(idle, timeout, () => {});
  }

  #append(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#bytes + bytes.length > this.#maxBytes) {
      this.#droppedLines++;
      return;
    }
    this.#bytes += bytes.length;
    this.#queue.push(bytes);
    if (this.#current === undefined) this.#writeNext();
  }

  /** @param length bytes of the line that follows the report */
  #reportDropped(length: number): void {
    const dropped = this.#droppedLines - this.#reportedLines;
    if (dropped === 0 || this.#bytes + REPORT_SIZE + length > this.#maxBytes) return;
    const error = this.#error;
    this.#reportedLines = this.#droppedLines;
    this.#error = undefined;
    this.#options.onDropped?.(dropped, error);
  }

  #writeNext(): void {
    const lines: Buffer[] = [];
    let size = 0;
    for (let line = this.#queue.peek(); line !== undefined; line = this.#queue.peek()) {
      size += line.length;
      if (lines.length > 0 && size > WRITE_SIZE) break;
      lines.push(line);
      this.#queue.shift();
    }
    if (lines.length === 0) return this.#wake();
    this.#current = Buffer.concat(lines);
    this.#writeCurrent(this.#current);
  }

  #writeCurrent(bytes: Buffer): void {
    this.#isWaiting = false;
    this.#output.write(bytes, (error, written) => {
      if (error) return this.#retry(error, bytes);
      this.#bytes -= written;
      if (written < bytes.length) return this.#writeCurrent(bytes.subarray(written));
      this.#current = undefined;
      if (this.#droppedLines === this.#reportedLines) this.#error = undefined;
      this.#reportDropped(0);
      if (this.#current === undefined) this.#writeNext();
    });
  }

  /** Retries before any other line is written, so that a partly written line is completed. */
  #retry(error: NodeJS.ErrnoException, bytes: Buffer): void {
    const isBlocked = error.code === 'EAGAIN';
    if (!isBlocked) {
      this.#error = error;
      if (!this.#hasFailed) this.#options.onError?.(error);
      this.#hasFailed = true;
      this.#isWaiting = true;
      this.#wake();
    }
    const timer = setTimeout(() => this.#writeCurrent(bytes), isBlocked ? RETRY_BLOCKED : RETRY_FAILED);
    timer.unref();
  }

  #wake(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake();
  }
}
