// The output of `sluice check`: a line for each issue, and a summary. It never contains a value of a message.

import type { Finding } from '../../check/stream-checker.js';
import { ERRORS } from '../../errors.js';
import { formatBytes, formatCount } from '../../formats.js';
import { printableLines } from '../../printable.js';
import { atOffset, counted, isMeasurable } from '../common/terminal.js';

/** The result of a check. */
export interface CheckSummary {
  readonly file: string;
  readonly bytes: number;
  readonly seconds: number;
  /** Accepted messages by type. */
  readonly accepted: Readonly<Record<string, number>>;
  /** Rejected messages by code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Whether the whole input was checked. False if `--max-errors` stopped the check early. */
  readonly isComplete: boolean;
}

export type CheckFormat = 'text' | 'json' | 'quiet';

/** Printed as the path of an issue that concerns the whole message. */
const WHOLE_MESSAGE = '-';
const NAME_WIDTH = 26;

export class CheckReport {
  readonly #file: string;
  readonly #format: CheckFormat;
  readonly #print: (text: string) => Promise<void>;
  #text = '';

  /**
   * @param file the file name that findings begin with
   * @param print writes to standard output, and resolves when it can accept more
   */
  constructor(file: string, format: CheckFormat, print: (text: string) => Promise<void>) {
    this.#file = file;
    this.#format = format;
    this.#print = print;
  }

  /** Adds a rejected message, to be printed by {@link flush}. */
  add(finding: Finding): void {
    if (this.#format === 'text') this.#text += textOf(this.#file, finding);
    else if (this.#format === 'json') this.#text += `${JSON.stringify({ file: this.#file, ...finding })}\n`;
  }

  /** Prints the added findings. Resolves when standard output can accept more; rejects if writing fails. */
  async flush(): Promise<void> {
    const text = printableLines(this.#text);
    this.#text = '';
    if (text !== '') await this.#print(text);
  }

  /** Prints the summary: as JSON on standard output, else on standard error. */
  async summarize(summary: CheckSummary): Promise<void> {
    if (this.#format === 'json') this.#text += `${JSON.stringify({ summary })}\n`;
    else if (this.#format === 'text') process.stderr.write(`${summaryLines(summary).join('\n')}\n`);
    await this.flush();
  }
}

/** `FILE:LINE: PATH CODE MESSAGE [REJECTED_WITH TYPE]`, a line for each issue. */
function textOf(file: string, { line, code, type, issues, offset }: Finding): string {
  const location = `${file}:${line}:`;
  const context = type === undefined ? code : `${code} ${type}`;
  if (issues.length === 0) {
    const suffix = type === undefined ? '' : ` [${type}]`;
    return `${location} ${WHOLE_MESSAGE} ${code} ${ERRORS[code].message}${atOffset(offset)}${suffix}\n`;
  }
  return issues
    .map(
      (issue) => `${location} ${issue.path || WHOLE_MESSAGE} ${issue.code} ${issue.message} [${context}]\n`,
    )
    .join('');
}

function summaryLines({ bytes, seconds, accepted, rejected, isComplete }: CheckSummary): string[] {
  const rejections = sum(rejected);
  const messages = sum(accepted) + rejections;
  const head = `${isComplete ? '' : 'stopped early: '}checked ${counted(messages, 'message')}, ${formatCount(rejections)} rejected`;
  const rate = isMeasurable(messages, seconds)
    ? `, ${formatCount(messages / seconds)} messages/s, ${formatBytes(bytes / seconds)}/s`
    : '';
  return [
    `${head} (${formatBytes(bytes)} in ${seconds.toFixed(2)} s${rate})`,
    ...rows(accepted),
    ...rows(rejected),
  ];
}

function rows(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `  ${name.padEnd(NAME_WIDTH)} ${formatCount(count)}`);
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
