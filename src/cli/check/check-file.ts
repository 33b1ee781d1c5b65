// Validates a file of messages without a broker, as fast as the workers can.

import type { FileHandle } from 'node:fs/promises';
import { StreamChecker } from '../../check/stream-checker.js';
import type { ResolvedOptions } from '../../config/config.js';
import { describeForLog } from '../../errors.js';
import { formatCount } from '../../formats.js';
import { MessageRegistry } from '../../messages/message-registry.js';
import { parserSettings } from '../../worker/create-parser.js';
import { type BrokerFlags, resolveFlags } from '../common/broker-options.js';
import { EXIT } from '../common/exit-codes.js';
import { openInput } from '../common/input.js';
import { Progress } from '../common/progress.js';
import { type CheckFormat, CheckReport } from './check-report.js';

export interface CheckFlags {
  json?: boolean;
  quiet?: boolean;
  /** Number of rejected messages after which to stop; 0: no limit. */
  maxErrors: number;
}

/** @returns the exit code */
export async function checkFile(file: string, flags: CheckFlags & BrokerFlags): Promise<number> {
  const options = resolveFlags(flags);
  const input = await openInput('check', file);
  if (input === undefined) return EXIT.NO_INPUT;
  try {
    const registry = await MessageRegistry.load(options.schemas);
    return await new FileCheck(file, input.size, flags, options, registry).run(input.file);
  } finally {
    await input.file?.close();
  }
}

class FileCheck {
  readonly #file: string;
  readonly #maxErrors: number;
  readonly #isQuiet: boolean;
  readonly #report: CheckReport;
  #isWithoutPatterns = false;
  readonly #progress: Progress;
  readonly #checker: StreamChecker;
  readonly #rejected: Record<string, number> = {};
  #errors = 0;

  constructor(
    file: string,
    size: number,
    flags: CheckFlags,
    options: ResolvedOptions,
    registry: MessageRegistry,
  ) {
    const format: CheckFormat = flags.quiet ? 'quiet' : flags.json ? 'json' : 'text';
    this.#file = file === '-' ? 'stdin' : file;
    this.#maxErrors = flags.maxErrors || Number.POSITIVE_INFINITY;
    this.#progress = new Progress(size);
    this.#isQuiet = format === 'quiet';
    this.#report = new CheckReport(this.#file, format, (text) => this.#progress.print(process.stdout, text));
    this.#checker = new StreamChecker(
      { ...options.workers, validationTimeout: options.validationTimeout, settings: parserSettings(options) },
      registry,
      {
        onFinding: (finding) => {
          // Ignores messages that were already with the workers when the limit was reached.
          if (this.#isAtLimit) return;
          this.#errors++;
          // Set early, because a closed pipe ends the process: `sluice check … | head`.
          process.exitCode = EXIT.FAILURE;
          this.#rejected[finding.code] = (this.#rejected[finding.code] ?? 0) + 1;
          this.#report.add(finding);
        },
        onPatternsUnavailable: (reason) => {
          if (format === 'quiet' || this.#isWithoutPatterns) return;
          // Each worker reports it.
          this.#isWithoutPatterns = true;
          this.#progress.printError(`sluice check: validating without patterns: ${reason}`);
        },
        onWorkerError: (error) => this.#progress.printError(`sluice check: ${describeForLog(error)}`),
      },
    );
  }

  /** @param input the file to check; `undefined` for standard input */
  async run(input: FileHandle | undefined): Promise<number> {
    await this.#checker.start();
    const startedAt = performance.now();
    try {
      if (input === undefined) await this.#readStandardInput();
      else await this.#readFile(input);
      if (!this.#isAtLimit) await this.#checker.end();
      await this.#report.flush();
    } finally {
      this.#progress.clear();
      await this.#checker.close();
    }
    await this.#report.summarize({
      file: this.#file,
      bytes: this.#checker.bytes,
      seconds: (performance.now() - startedAt) / 1000,
      accepted: this.#checker.accepted,
      rejected: this.#rejected,
      isComplete: !this.#isAtLimit,
    });
    return this.#exitCode;
  }

  async #readFile(input: FileHandle): Promise<void> {
    const read = async (buffer: Buffer) => (await input.read(buffer, 0, buffer.length, null)).bytesRead;
    while (!this.#isAtLimit && (await this.#checker.readWith(read))) await this.#showProgress();
  }

  async #readStandardInput(): Promise<void> {
    for await (const bytes of process.stdin) {
      await this.#checker.write(bytes as Buffer);
      await this.#showProgress();
      if (this.#isAtLimit) break;
    }
  }

  async #showProgress(): Promise<void> {
    await this.#report.flush();
    if (!this.#isQuiet)
      this.#progress.update(this.#checker.bytes, () => `${formatCount(this.#errors)} rejected`);
  }

  get #isAtLimit(): boolean {
    return this.#errors >= this.#maxErrors;
  }

  get #exitCode(): number {
    return this.#errors > 0 ? EXIT.FAILURE : EXIT.OK;
  }
}
