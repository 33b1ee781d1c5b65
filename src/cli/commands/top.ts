// `sluice top`: a broker's rates and its busiest connections, over and over, in a terminal. Elsewhere, once.

import type { BrokerStats, ConnectionList } from '../../admin/snapshot.js';
import { stopBlocking } from '../../connection/standard-stream.js';
import { describeError } from '../../errors.js';
import { AdminClient } from '../common/admin-client.js';
import {
  connectionLines,
  readinessLine,
  summaryLines,
  VIEW_COLUMNS,
  type ViewColumn,
} from '../common/admin-view.js';
import { EXIT } from '../common/exit-codes.js';

export interface TopFlags {
  /** Where the admin server is. */
  admin?: string;
  /** Seconds between two looks. */
  interval: number;
}

/** Rows of the table where there is no terminal to fill, and the least where there is a small one. */
const PRINTED_ROWS = 50;
const MIN_ROWS = 3;
/** Beside the broker's lines and the rows: two empty lines, the head, how many more there are, and the foot. */
const OTHER_LINES = 6;
/** What a terminal has that does not know its size, and says 0. */
const USUAL_COLUMNS = 80;
const USUAL_LINES = 24;
const FOOT = [`sort by ${VIEW_COLUMNS.map(({ key, label }) => `${key} ${label}`).join(' ')}`, 'q quit'];
const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l';
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** What there is to show: the broker's lines, and the connections, which it has when it has started. */
interface Look {
  readonly isReady: boolean;
  readonly summary: readonly string[];
  readonly list?: ConnectionList | undefined;
}

/** @returns the exit code */
export async function top(flags: TopFlags): Promise<number> {
  const view = new TopView(new AdminClient(flags.admin), flags.interval * 1000);
  return process.stdin.isTTY && process.stdout.isTTY ? view.watch() : view.print();
}

class TopView {
  readonly #client: AdminClient;
  readonly #interval: number;
  #sort: Pick<ViewColumn, 'sort'> = { sort: 'rateIn' };
  #latest: Look = { isReady: false, summary: [] };
  #wake: () => void = () => {};
  #isOver = false;

  constructor(client: AdminClient, interval: number) {
    this.#client = client;
    this.#interval = interval;
  }

  /** One look. Rates need a look before it. */
  async print(): Promise<number> {
    await this.#look(() => 1);
    await new Promise((resolve) => setTimeout(resolve, this.#interval));
    const look = await this.#look(() => PRINTED_ROWS);
    process.stdout.write(`${this.#linesOf(look, Number.POSITIVE_INFINITY).join('\n')}\n`);
    return look.isReady ? EXIT.OK : EXIT.FAILURE;
  }

  /** Until `q` is pressed. */
  async watch(): Promise<number> {
    const { stdin, stdout } = process;
    // A broker that is not there at all ends the command before it takes the screen.
    this.#latest = await this.#look(rowsThatFit);
    stopBlocking(stdout);
    stdout.write(ENTER_SCREEN);
    stdin.setRawMode(true).setEncoding('utf8').on('data', this.#onKey);
    stdout.on('resize', this.#draw);
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, this.#end);
    try {
      while (!this.#isOver) {
        this.#draw();
        await this.#pause();
        if (!this.#isOver) await this.#refresh();
      }
    } finally {
      stdin.off('data', this.#onKey).setRawMode(false).pause();
      stdout.off('resize', this.#draw);
      stdout.write(LEAVE_SCREEN);
    }
    return EXIT.OK;
  }

  /** @param rowsBelow how many rows of the table are wanted below so many lines */
  async #look(rowsBelow: (lines: number) => number): Promise<Look> {
    const stats = await this.#client.get<BrokerStats>('/api/stats');
    if (stats === undefined) {
      const readiness = await this.#client.readiness();
      return { isReady: readiness.ready, summary: [readinessLine(readiness)] };
    }
    const summary = summaryLines(stats);
    const query = `sort=${this.#sort.sort}&limit=${rowsBelow(summary.length)}`;
    const list = await this.#client.get<ConnectionList>(`/api/connections?${query}`);
    return { isReady: stats.readiness.ready, summary, list };
  }

  #linesOf({ summary, list }: Look, width: number): string[] {
    return [...summary, '', ...(list === undefined ? [] : connectionLines(list, this.#sort.sort, width))];
  }

  /** A broker that goes away may come back: the last figures stay until it does. */
  async #refresh(): Promise<void> {
    try {
      this.#latest = await this.#look(rowsThatFit);
    } catch (error) {
      const { summary, list } = this.#latest;
      this.#latest = { isReady: false, summary: [describeError(error), ...summary.slice(1)], list };
    }
  }

  readonly #draw = (): void => {
    // A terminal that is stopped has not taken the last one.
    if (process.stdout.writableLength > 0) return;
    const { columns, lines: height } = screenSize();
    const shown = this.#linesOf(this.#latest, columns).slice(0, height - FOOT.length - 1);
    // Cleared before it is written: a line that fills the screen leaves the cursor on its last character.
    const text = [...shown, '', ...FOOT].slice(-height).map((line) => CLEAR_LINE + line.slice(0, columns));
    process.stdout.write(HOME + text.join('\r\n') + CLEAR_BELOW);
  };

  readonly #onKey = (key: string): void => {
    const column = VIEW_COLUMNS.find((one) => one.key === key);
    // Ctrl-C and Ctrl-D come as characters while the terminal is raw.
    if (key === 'q' || key === '\u0003' || key === '\u0004') this.#end();
    else if (column !== undefined) {
      this.#sort = column;
      this.#wake();
    }
  };

  readonly #end = (): void => {
    this.#isOver = true;
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
  return { columns: columns || USUAL_COLUMNS, lines: rows || USUAL_LINES };
}

/** Rows of the table that fit the screen below so many lines. */
function rowsThatFit(lines: number): number {
  return Math.max(MIN_ROWS, screenSize().lines - lines - OTHER_LINES);
}
