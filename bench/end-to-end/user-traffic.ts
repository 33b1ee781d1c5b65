// Deterministic messages of the types in user-schemas.ts: page_fetched 60 %, item_extracted 30 %, crawl_metrics 10 %.

import { randomNumbers } from '../../src/traffic/traffic.js';

const METHODS = ['GET', 'GET', 'GET', 'HEAD', 'POST'];
const WORDS = ['platform', 'billing', 'mobile', 'infra', 'search', 'gateway'];
const PEOPLE = ['ada', 'grace', 'alan', 'edsger', 'barbara'];
const TITLES = ['Fix the page limit', 'Update dependencies', 'Crawl stops at page 12'];
const ESCAPED_TITLES = ['Fix "cache\\index"', 'Größe der Seite', 'Crawl stops\tat page 12'];
const STATUSES = [200, 200, 200, 200, 304, 404, 429];
const OFFSETS = ['Z', '+02:00', '-05:30'];

export class UserTraffic {
  readonly #random: () => number;
  readonly #escaped: number;
  #count = 0;

  /** @param escaped percentage of titles and comments that need escapes or are not ASCII */
  constructor(seed: number, escaped: number) {
    this.#random = randomNumbers(seed * 2_654_435_761);
    this.#escaped = escaped;
  }

  next(): { type: string; timestamp: string; jobId: string; data: Record<string, unknown> } {
    this.#count++;
    const message = { timestamp: this.#time(), jobId: 'job' };
    const percentile = this.#random() * 100;
    if (percentile < 60) return { type: 'page_fetched', ...message, data: this.#page() };
    if (percentile < 90) return { type: 'item_extracted', ...message, data: this.#extracted() };
    return { type: 'crawl_metrics', ...message, data: this.#metrics() };
  }

  #page(): Record<string, unknown> {
    return {
      requestId: this.#uuid(),
      url: `https://gitlab.example.com/api/v4/projects/${this.#int(9_000_000)}/issues?page=${1 + this.#int(90)}`,
      method: this.#pick(METHODS),
      status: this.#pick(STATUSES),
      headers: { 'content-type': 'application/json', 'x-request-id': this.#hex(16), 'retry-after': '30' },
      bytes: this.#int(90_000),
      ...(this.#int(4) === 0 ? { contact: this.#email() } : {}),
    };
  }

  #extracted(): Record<string, unknown> {
    const kind = this.#int(3);
    const item =
      kind === 0
        ? { kind: 'issue', title: this.#text(), labels: [this.#pick(WORDS), 'bug'], weight: this.#int(9) }
        : kind === 1
          ? { kind: 'commit', sha: this.#hex(40), additions: this.#int(900), deletions: this.#int(900) }
          : { kind: 'comment', body: this.#text(), parent: this.#int(2) === 0 ? null : this.#uuid() };
    return { id: this.#uuid(), author: this.#email(), updatedAt: this.#time(), item };
  }

  #metrics(): Record<string, unknown> {
    const counters = Object.fromEntries(WORDS.map((word) => [word, this.#int(9000)]));
    const from = this.#int(1000);
    return { counters, ratio: this.#random().toFixed(3), from, to: from + this.#int(1000) };
  }

  #time(): string {
    const time = new Date(1_767_225_600_000 + this.#count * 37).toISOString();
    return time.replace('Z', this.#pick(OFFSETS));
  }

  #text(): string {
    return this.#pick(this.#random() * 100 < this.#escaped ? ESCAPED_TITLES : TITLES);
  }

  #email(): string {
    return `${this.#pick(PEOPLE)}.${this.#int(1000)}@example.com`;
  }

  /** Version 4, variant 1. */
  #uuid(): string {
    return `${this.#hex(8)}-${this.#hex(4)}-4${this.#hex(3)}-a${this.#hex(3)}-${this.#hex(12)}`;
  }

  #hex(digits: number): string {
    return Array.from({ length: digits }, () => this.#int(16).toString(16)).join('');
  }

  #int(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#int(values.length)] as T;
  }
}
