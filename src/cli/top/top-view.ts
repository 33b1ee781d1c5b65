// A live view of a broker's rates and its busiest connections. Without a terminal, prints them once.

import type { BrokerStats, ConnectionList } from '../../admin/snapshot.js';
import { stopBlocking } from '../../connection/standard-stream.js';
import { describeError } from '../../errors.js';
import { printable } from '../../printable.js';
import { AdminClient } from '../common/admin-client.js';
import {
  columnsThatFit,
  connectionLines,
  noAnswerLine,
  readinessLine,
  summaryLines,
  type ViewColumn,
} from '../common/admin-view.js';
import { EXIT } from '../common/exit-codes.js';
import { canMoveCursor } from '../common/terminal.js';

export interface TopFlags {
  /** Address of the admin server. */
  admin?: string;
  /** Refresh interval in seconds. */
  interval: number;
}

/** Table rows that are printed without a terminal, and the minimum in a small terminal. */
const PRINTED_ROWS = 50;
const MIN_ROWS = 3;
/** Lines besides summary and rows: two empty ones, the table header, the number of further rows, and the footer. */
const OTHER_LINES = 6;
/** Size of a terminal that does not know its size and reports 0. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_LINES = 24;
/** Lines of the footer: the sort keys, and how to quit. */
const FOOTER_LINES = 2;
const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l';
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** The data to show: the summary lines and, when the broker has started, its connections. */
interface Snapshot {
  readonly isReady: boolean;
  readonly summary: readonly string[];
  readonly list?: ConnectionList | undefined;
}

/** @returns the exit code */
export async function showTop(flags: TopFlags): Promise<number> {
  const view = new TopView(new AdminClient(flags.admin), flags.interval * 1000);
  return process.stdin.isTTY && canMoveCursor(process.stdout) ? view.watch() : view.print();
}

class TopView {
  readonly #client: AdminClient;
  readonly #interval: number;
  #sort: Pick<ViewColumn, 'sort'> = { sort: 'rateIn' };
  #latest: Snapshot = { isReady: false, summary: [] };
  /** Time of the latest answer, in ms since 1970. */
  #answeredAt = 0;
  #wake: () => void = () => {};
  #isStopped = false;

  constructor(client: AdminClient, interval: number) {
    this.#client = client;
    this.#interval = interval;
  }

  /** Prints the view once. Rates need an earlier snapshot, so there are two. */
  async print(): Promise<number> {
    await this.#fetch(() => 1);
    await new Promise((resolve) => setTimeout(resolve, this.#interval));
    const snapshot = await this.#fetch(() => PRINTED_ROWS);
    process.stdout.write(`${this.#linesOf(snapshot, Number.POSITIVE_INFINITY).join('\n')}\n`);
    return snapshot.isReady ? EXIT.OK : EXIT.FAILURE;
  }

  /** Shows the view until `q` is pressed. */
  async watch(): Promise<number> {
    const { stdin, stdout } = process;
    // Fails before the screen is switched if no broker is running.
    this.#latest = await this.#fetch(rowsThatFit);
    stopBlocking(stdout);
    stdout.write(ENTER_SCREEN);
    stdin.setRawMode(true).setEncoding('utf8').on('data', this.#onKey);
    stdout.on('resize', this.#draw);
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, this.#stop);
    try {
      while (!this.#isStopped) {
        this.#draw();
        await this.#pause();
        if (!this.#isStopped) await this.#refresh();
      }
    } finally {
      stdin.off('data', this.#onKey).setRawMode(false).pause();
      stdout.off('resize', this.#draw);
      stdout.write(LEAVE_SCREEN);
    }
    return EXIT.OK;
  }

  /** @param rowLimit returns the maximum number of table rows below this many summary lines */
  async #fetch(rowLimit: (lines: number) => number): Promise<Snapshot> {
    const stats = await this.#client.get<BrokerStats>('/api/stats');
    this.#answeredAt = Date.now();
    if (stats === undefined) {
      const readiness = await this.#client.readiness();
      return { isReady: readiness.ready, summary: [readinessLine(readiness)] };
    }
    const summary = summaryLines(stats);
    const query = `sort=${this.#sort.sort}&limit=${rowLimit(summary.length)}`;
    const list = await this.#client.get<ConnectionList>(`/api/connections?${query}`);
    return { isReady: stats.readiness.ready, summary, list };
  }

  #linesOf({ summary, list }: Snapshot, width: number): string[] {
    return [...summary, '', ...(list === undefined ? [] : connectionLines(list, this.#sort.sort, width))];
  }

  /** While the broker cannot be reached, the latest statistics stay on the screen, marked as such: it may come back. */
  async #refresh(): Promise<void> {
    try {
      this.#latest = await this.#fetch(rowsThatFit);
    } catch (error) {
      const { summary, list } = this.#latest;
      this.#latest = {
        isReady: false,
        summary: [noAnswerLine(this.#answeredAt, printable(describeError(error))), ...summary.slice(1)],
        list,
      };
    }
  }

  readonly #draw = (): void => {
    // A stopped terminal has not accepted the previous frame.
    if (process.stdout.writableLength > 0) return;
    const { columns, lines: height } = screenSize();
    const shown = this.#linesOf(this.#latest, columns).slice(0, height - FOOTER_LINES - 1);
    // Each line is cleared before it is written: one as wide as the screen leaves the cursor on its last character.
    const keys = columnsThatFit(columns).map(({ key, label }) => `${key} ${label}`);
    const text = [...shown, '', `sort by ${keys.join(' ')}`, 'q quit']
      .slice(-height)
      .map((line) => CLEAR_LINE + line.slice(0, columns));
    process.stdout.write(HOME + text.join('\r\n') + CLEAR_BELOW);
  };

  readonly #onKey = (key: string): void => {
    const column = columnsThatFit(screenSize().columns).find((one) => one.key === key);
    // Ctrl-C and Ctrl-D are received as characters while the terminal is in raw mode.
    if (key === 'q' || key === '\u0003' || key === '\u0004') this.#stop();
    else if (column !== undefined) {
      this.#sort = column;
      this.#wake();
    }
  };

  readonly #stop = (): void => {
    this.#isStopped = true;
    this.#wake();
  };

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#interval);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function screenSize(): { columns: number; lines: number } {
  const { columns, rows } = process.stdout;
  return { columns: columns || DEFAULT_COLUMNS, lines: rows || DEFAULT_LINES };
}

/** The number of table rows that fit on the screen below this many summary lines. */
function rowsThatFit(lines: number): number {
  return Math.max(MIN_ROWS, screenSize().lines - lines - OTHER_LINES);
}
