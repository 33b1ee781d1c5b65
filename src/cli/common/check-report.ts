// What `sluice check` prints: a line for each thing that is wrong, and a summary. Never a value of a message.

import { once } from 'node:events';
import type { Finding } from '../../check/stream-checker.js';
import { ERRORS } from '../../errors.js';
import { formatBytes, formatCount } from './terminal.js';

/** How a check ended. */
export interface CheckSummary {
  readonly file: string;
  readonly bytes: number;
  readonly seconds: number;
  /** Accepted messages by type. */
  readonly accepted: Readonly<Record<string, number>>;
  /** Rejected messages by code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Whether the whole input was checked: `--max-errors` ends it early. */
  readonly isComplete: boolean;
}

export type CheckFormat = 'text' | 'json' | 'quiet';

/** The path of what is wrong with a message as a whole. */
const WHOLE_MESSAGE = '-';
const NAME_WIDTH = 26;

export class CheckReport {
  readonly #file: string;
  readonly #format: CheckFormat;
  #text = '';

  /** @param file its name, as findings begin with it */
  constructor(file: string, format: CheckFormat) {
    this.#file = file;
    this.#format = format;
  }

  /** Whether {@link flush} has something to write. */
  get hasText(): boolean {
    return this.#text !== '';
  }

  /** Notes a rejected message. It is printed by {@link flush}. */
  add(finding: Finding): void {
    if (this.#format === 'text') this.#text += textOf(this.#file, finding);
    else if (this.#format === 'json') this.#text += `${JSON.stringify({ file: this.#file, ...finding })}\n`;
  }

  /** Prints what was noted. Resolves when standard output takes more; rejects when nobody reads it any longer. */
  async flush(): Promise<void> {
    const text = this.#text;
    this.#text = '';
    if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
  }

  /** Prints the summary: as JSON on standard output, else on standard error. */
  async summarize(summary: CheckSummary): Promise<void> {
    if (this.#format === 'json') this.#text += `${JSON.stringify({ summary })}\n`;
    else if (this.#format === 'text') process.stderr.write(`${summaryLines(summary).join('\n')}\n`);
    await this.flush();
  }
}

/** `FILE:LINE: PATH CODE MESSAGE [REJECTED_WITH TYPE]`, a line for each issue. */
function textOf(file: string, { line, code, type, issues }: Finding): string {
  const place = `${file}:${line}:`;
  const about = type === undefined ? code : `${code} ${type}`;
  if (issues.length === 0) {
    const suffix = type === undefined ? '' : ` [${type}]`;
    return `${place} ${WHOLE_MESSAGE} ${code} ${ERRORS[code].message}${suffix}\n`;
  }
  return issues
    .map((issue) => `${place} ${issue.path || WHOLE_MESSAGE} ${issue.code} ${issue.message} [${about}]\n`)
    .join('');
}

function summaryLines({ bytes, seconds, accepted, rejected, isComplete }: CheckSummary): string[] {
  const bad = sum(rejected);
  const messages = sum(accepted) + bad;
  const rate = seconds > 0 ? `, ${formatCount(messages / seconds)} messages/s` : '';
  const head = `${isComplete ? '' : 'stopped early: '}checked ${formatCount(messages)} messages, ${formatCount(bad)} rejected`;
  return [
    `${head} (${formatBytes(bytes)} in ${seconds.toFixed(2)} s${rate}, ${formatBytes(bytes / (seconds || 1))}/s)`,
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
