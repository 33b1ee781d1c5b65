// Deterministic crawler traffic: the messages of one GitLab crawler, in the proportions of a real crawl. The same seed
// produces the same bytes, so two processes can generate the same stream independently.
//
// Share of messages: job_progress 77 %, heartbeat 5 %, job_completed 5 %, jobs_discovered 4 % (5 jobs),
// discovery 4 % (8 entities), job_started 3 %, job_failed 2 %; about 394 bytes on average.

/** Random numbers: Mulberry32, a small generator with a 32-bit state (Tommy Ettinger, public domain). Values in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const ENTITY_TYPES = [
  'project',
  'group',
  'user',
  'issue',
  'merge_request',
  'commit',
  'branch',
  'pipeline',
  'release',
];
const JOB_TYPES = ['discover_namespaces', 'crawl_user', 'crawl_group', 'crawl_project'];
const STATUSES = ['idle', 'discovering', 'crawling', 'crawling', 'crawling', 'processing'];
const WORDS = [
  'platform',
  'billing',
  'mobile',
  'infra',
  'search',
  'gateway',
  'docs',
  'design',
  'data',
  'auth',
];
const NAMES = [
  'Zoë Müller',
  'José Núñez',
  '李小龍',
  'Åsa Öberg',
  'Łukasz Żak',
  'Оля Петрова',
  'Søren Kjær 🚀',
];
const PLAIN_NAMES = ['Ada Lovelace', 'Grace Hopper', 'Alan Turing', 'Edsger Dijkstra', 'Barbara Liskov'];
const PLAIN_ERRORS = ['ECONNRESET', 'ETIMEDOUT', 'HTTP 429 Too Many Requests', 'HTTP 502 Bad Gateway'];
const ESCAPED_ERRORS = ['GraphQL: "complexity" exceeded'];
const ERRORS = [...PLAIN_ERRORS, ...ESCAPED_ERRORS];
const STAGE_MESSAGES = ['Fetching page', 'Processing batch', 'Reading page', 'Waiting for page'];
/** By default, one progress message in 16 needs JSON escapes. */
const ESCAPED_MESSAGES = ['Writing "cache\\index"', 'Rate limit,\tpage'];
/** 2026-01-01T00:00:00Z. Fixed, so that the traffic does not depend on the date. */
const EPOCH = 1_767_225_600_000;

export interface TrafficOptions {
  /** Selects the stream: the same seed produces the same messages. */
  seed: number;
  /** Prefix of the job IDs of this crawler. Default: `c` followed by the seed. */
  crawler?: string;
  /**
   * Percentage of the free texts (progress messages, names, errors with their stack traces) that need JSON escapes or are
   * not ASCII. With 0, the whole stream is ASCII without a backslash. Default: as in a real crawl, about 18 %.
   */
  escaped?: number | undefined;
}

/** An endless stream of messages. */
export class Traffic {
  readonly #random: () => number;
  readonly #crawler: string;
  readonly #escaped: number | undefined;
  #count = 0;
  #processed = 0;

  constructor(options: TrafficOptions) {
    this.#random = randomNumbers(options.seed * 2_654_435_761);
    this.#crawler = options.crawler ?? `c${options.seed}`;
    this.#escaped = options.escaped;
  }

  /** The next message, as an object. */
  next(): { type: string; timestamp: string; jobId?: string; data: Record<string, unknown> } {
    const timestamp = new Date(EPOCH + this.#count * 37 + this.#int(37)).toISOString();
    this.#count++;
    const percentile = this.#random() * 100;
    const jobId = `${this.#crawler}-${(this.#count >> 7).toString(36).padStart(6, '0')}-${this.#int(16)}`;
    if (percentile < 77) return { type: 'job_progress', timestamp, jobId, data: this.#progress() };
    if (percentile < 82) return { type: 'heartbeat', timestamp, data: this.#heartbeat() };
    if (percentile < 87) return { type: 'job_completed', timestamp, jobId, data: this.#completed() };
    if (percentile < 91) return { type: 'jobs_discovered', timestamp, jobId, data: this.#jobsDiscovered() };
    if (percentile < 95) return { type: 'discovery', timestamp, jobId, data: this.#discovery() };
    if (percentile < 98) return { type: 'job_started', timestamp, jobId, data: this.#started() };
    return { type: 'job_failed', timestamp, jobId, data: this.#failed() };
  }

  /** The next message as JSON text (from `JSON.stringify`), without a newline. */
  nextLine(): string {
    return JSON.stringify(this.next());
  }

  /** The next `count` messages as bytes, each followed by `delimiter`. */
  block(count: number, delimiter = '\n'): Buffer {
    const lines: string[] = [];
    for (let index = 0; index < count; index++) lines.push(this.nextLine() + delimiter);
    return Buffer.from(lines.join(''));
  }

  #progress(): Record<string, unknown> {
    const total = 100 + this.#int(5000);
    const processed = this.#int(total);
    this.#processed += 20;
    return {
      stage: 'fetching',
      entityType: this.#pick(ENTITY_TYPES),
      processed,
      total,
      message: `${this.#pick(this.#isEscaped(() => this.#int(16) === 0) ? ESCAPED_MESSAGES : STAGE_MESSAGES)} ${1 + this.#int(90)} of ${this.#project()}`,
      resumeState: { lastEntityId: `${this.#id()}`, currentPage: 1 + this.#int(90) },
      itemCounts: { issues: this.#int(900), commits: this.#int(9000) },
      processingRate: Math.round(this.#random() * 10_000) / 100,
      estimatedTimeRemaining: this.#int(7200),
    };
  }

  #heartbeat(): Record<string, unknown> {
    return {
      activeJobs: this.#int(6),
      totalProcessed: this.#processed,
      systemStatus: this.#pick(STATUSES),
      memoryUsage: { rss: 90_000_000 + this.#int(9_000_000), heapUsed: 40_000_000 + this.#int(9_000_000) },
      uptime: this.#count,
    };
  }

  #started(): Record<string, unknown> {
    return { entityType: this.#pick(ENTITY_TYPES), entityId: `${this.#id()}` };
  }

  #completed(): Record<string, unknown> {
    return {
      success: true,
      finalCounts: {
        issues: this.#int(900),
        merge_requests: this.#int(400),
        commits: this.#int(9000),
        users: this.#int(50),
      },
      message: `Crawled ${this.#project()} for ${this.#pick(this.#isEscaped(() => true) ? NAMES : PLAIN_NAMES)}`,
      outputFiles: [
        `/var/lib/crawler/${this.#project()}/issues.jsonl`,
        `/var/lib/crawler/${this.#project()}/commits.jsonl`,
      ],
    };
  }

  #failed(): Record<string, unknown> {
    const isEscaped = this.#isEscaped(() => true);
    const escapedErrors = this.#escaped === undefined ? ERRORS : ESCAPED_ERRORS;
    const error = this.#pick(isEscaped ? escapedErrors : PLAIN_ERRORS);
    const frames = [
      'fetchPage (crawler/http.js',
      'retry (crawler/retry.js',
      'crawlProject (crawler/project.js',
      'run (crawler/main.js',
    ];
    return {
      error: `${error} while reading ${this.#project()}`,
      errorType: 'network',
      isRecoverable: this.#random() < 0.8,
      resumeState: { lastEntityId: `gid://gitlab/Commit/${this.#id()}`, currentPage: 1 + this.#int(90) },
      partialCounts: { commits: this.#int(9000) },
      stackTrace: [
        `Error: ${error}`,
        ...frames.map((frame) => `    at ${frame}:${1 + this.#int(400)}:${1 + this.#int(80)})`),
      ].join(isEscaped ? '\n' : ';'),
      retryCount: this.#int(5),
      requestDetails: {
        method: 'GET',
        url: `https://gitlab.example.com/api/v4/projects/${this.#id()}/repository/commits?page=${1 + this.#int(90)}`,
        status_code: 429,
        response_headers: { 'retry-after': '30', 'content-type': 'application/json' },
      },
    };
  }

  #discovery(): Record<string, unknown> {
    const entityType = this.#pick(['project', 'group', 'user']);
    const entities = this.#list(8, () => {
      const path = this.#project();
      return {
        id: `${this.#id()}`,
        name: this.#isEscaped(() => this.#int(4) === 0)
          ? this.#pick(NAMES)
          : path.slice(path.indexOf('/') + 1),
        path,
      };
    });
    return { entityType, entities };
  }

  #jobsDiscovered(): Record<string, unknown> {
    const discovered_jobs = this.#list(5, () => {
      const namespace_path = this.#project();
      return {
        job_type: this.#pick(JOB_TYPES),
        entity_id: `${this.#id()}`,
        namespace_path,
        entity_name: this.#isEscaped(() => this.#int(4) === 0) ? this.#pick(NAMES) : namespace_path,
        priority: 1 + this.#int(5),
        estimated_size: { issues: this.#int(900) },
      };
    });
    return {
      discovered_jobs,
      discovery_summary: {
        total_groups: this.#int(50),
        total_projects: this.#int(500),
        hierarchy_depth: 1 + this.#int(5),
      },
    };
  }

  /** Whether the next free text needs escapes or is not ASCII; without the option `escaped`, as `usual` decides. */
  #isEscaped(usual: () => boolean): boolean {
    return this.#escaped === undefined ? usual() : this.#random() * 100 < this.#escaped;
  }

  #project(): string {
    return `${this.#pick(WORDS)}/${this.#pick(WORDS)}-${this.#int(100)}`;
  }

  #id(): number {
    return 1_000_000 + this.#int(9_000_000);
  }

  #int(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#int(values.length)] as T;
  }

  #list<T>(count: number, make: () => T): T[] {
    return Array.from({ length: count }, make);
  }
}
