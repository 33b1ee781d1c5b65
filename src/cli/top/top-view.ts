// A live view of a broker's rates and its connections in a terminal. Without one, prints them once.

import { emitKeypressEvents } from 'node:readline';
import type { BrokerStats, ConnectionList } from '../../admin/snapshot.js';
import { stopBlocking } from '../../connection/standard-stream.js';
import { describeError } from '../../errors.js';
import { formatCount } from '../../formats.js';
import { printable } from '../../printable.js';
import { AdminClient } from '../common/admin-client.js';
import { noAnswerLine, readinessLine, summaryLines } from '../common/admin-view.js';
import { EXIT } from '../common/exit-codes.js';
import { canMoveCursor } from '../common/terminal.js';
import { CONNECTION_COLUMNS, CONNECTION_RATE } from './connection-table.js';
import type { ScreenSize } from './layout.js';
import { tableLines } from './table.js';
import { type ConnectionQuery, type Key, type TopData, TopScreen } from './top-screen.js';

export interface TopFlags {
  /** Address of the admin server. */
  admin?: string;
  /** Refresh interval in seconds. */
  interval: number;
}

/** Table rows that are printed without a terminal. */
const PRINTED_ROWS = 50;
/** Size of a terminal that does not know its size and reports 0. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_LINES = 24;
/** Signals that end the view. The terminal is restored first. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l';
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** @returns the exit code */
export async function showTop(flags: TopFlags): Promise<number> {
  const source = new TopSource(new AdminClient(flags.admin));
  const interval = flags.interval * 1000;
  const isTerminal = process.stdin.isTTY && canMoveCursor(process.stdout);
  return isTerminal ? new TopView(source, interval).watch() : print(source, interval);
}

/** Prints the view once. Rates need an earlier snapshot, so there are two. */
async function print(source: TopSource, interval: number): Promise<number> {
  const query = { sort: CONNECTION_RATE.sort, limit: PRINTED_ROWS };
  await source.fetch(query);
  await new Promise((resolve) => setTimeout(resolve, interval));
  const { isReady, summary, list } = await source.fetch(query);
  const lines = [...summary, '', ...(list === undefined ? [] : printedList(list))];
  process.stdout.write(`${lines.join('\n')}\n`);
  return isReady ? EXIT.OK : EXIT.FAILURE;
}

function printedList({ rows, total }: ConnectionList): string[] {
  const table = tableLines(CONNECTION_COLUMNS, rows, CONNECTION_RATE, Number.POSITIVE_INFINITY);
  return total > rows.length ? [...table, `and ${formatCount(total - rows.length)} more`] : table;
}

class TopSource {
  readonly #client: AdminClient;
  /** Time of the latest answer, in ms since 1970. */
  answeredAt = 0;

  constructor(client: AdminClient) {
    this.#client = client;
  }

  async fetch({ sort, limit }: ConnectionQuery): Promise<TopData> {
    const stats = await this.#client.get<BrokerStats>('/api/stats');
    this.answeredAt = Date.now();
    if (stats === undefined) {
      const readiness = await this.#client.readiness();
      return { isReady: readiness.ready, summary: [readinessLine(readiness)], sort };
    }
    const list = await this.#client.get<ConnectionList>(`/api/connections?sort=${sort}&limit=${limit}`);
    return { isReady: stats.readiness.ready, summary: summaryLines(stats), stats, list, sort };
  }
}

class TopView {
  readonly #source: TopSource;
  readonly #interval: number;
  readonly #screen = new TopScreen();
  #wake: () => void = () => {};
  /** Whether a key needs other data than what is being fetched. */
  #isWoken = false;
  #isStopped = false;
  #end: (error?: unknown) => void = () => {};

  constructor(source: TopSource, interval: number) {
    this.#source = source;
    this.#interval = interval;
  }

  /** Shows the view until `q` is pressed. */
  async watch(): Promise<number> {
    const { stdin, stdout } = process;
    // Fails before the screen is switched if no broker is running.
    this.#screen.update(await this.#source.fetch(this.#screen.query(screenSize())));
    stopBlocking(stdout);
    const ended = new Promise<void>((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
    });
    const restore = () => void stdout.write(LEAVE_SCREEN);
    process.once('exit', restore);
    stdout.write(ENTER_SCREEN);
    emitKeypressEvents(stdin);
    stdin.setRawMode(true).on('keypress', this.#onKey).on('end', this.#stop).resume();
    stdout.on('resize', this.#onResize);
    for (const signal of SIGNALS) process.once(signal, this.#stop);
    try {
      // Ends at once, even if an answer is awaited.
      await Promise.race([this.#run(), ended]);
    } finally {
      this.#stop();
      stdin.off('keypress', this.#onKey).off('end', this.#stop).setRawMode(false).pause();
      stdout.off('resize', this.#onResize);
      process.off('exit', restore);
      restore();
    }
    return EXIT.OK;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#draw();
      await this.#pause();
      const isFrozen = this.#screen.isPaused && !this.#screen.isIncomplete(screenSize());
      if (!this.#isStopped && !isFrozen) await this.#refresh();
    }
  }

  /** While the broker cannot be reached, the latest statistics stay on the screen, marked as such: it may come back. */
  async #refresh(): Promise<void> {
    try {
      this.#screen.update(await this.#source.fetch(this.#screen.query(screenSize())));
    } catch (error) {
      const { data } = this.#screen;
      const line = noAnswerLine(this.#source.answeredAt, printable(describeError(error)));
      this.#screen.update({ ...data, isReady: false, summary: [line, ...data.summary.slice(1)] });
    }
  }

  #draw(): void {
    // A stopped terminal has not accepted the previous frame.
    if (this.#isStopped || process.stdout.writableLength > 0) return;
    // Each line is cleared before it is written: one as wide as the screen leaves the cursor on its last character.
    const lines = this.#screen.frame(screenSize()).map((line) => CLEAR_LINE + line);
    process.stdout.write(HOME + lines.join('\r\n') + CLEAR_BELOW);
  }

  readonly #onKey = (text: string | undefined, key: Key): void => {
    this.#endOnError(() => {
      const wasPaused = this.#screen.isPaused;
      if (this.#screen.onKey(text, key, screenSize())) this.#stop();
      else this.#show(wasPaused && !this.#screen.isPaused);
    });
  };

  readonly #onResize = (): void => this.#endOnError(() => this.#show(false));

  /** Draws what is known, and fetches what is missing. */
  #show(isRefreshDue: boolean): void {
    this.#draw();
    if (!isRefreshDue && !this.#screen.isIncomplete(screenSize())) return;
    this.#isWoken = true;
    this.#wake();
  }

  readonly #stop = (): void => {
    this.#isStopped = true;
    this.#wake();
    this.#end();
  };

  /** An error in a listener ends the view, so that the terminal is restored before the error is printed. */
  #endOnError(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#end(error);
    }
  }

  /** Waits for the next refresh, or for a key that needs one. */
  async #pause(): Promise<void> {
    if (!this.#isWoken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#interval);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#isWoken = false;
  }
}

function screenSize(): ScreenSize {
  const { columns, rows } = process.stdout;
  return { columns: columns || DEFAULT_COLUMNS, lines: rows || DEFAULT_LINES };
}
