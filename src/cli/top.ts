// `sluice top`: a broker's rates and its busiest connections, over and over, in a terminal. Elsewhere, once.

import type { BrokerStats, ConnectionList } from '../admin/snapshot.js';
import { describeError } from '../errors.js';
import { AdminClient } from './admin-client.js';
import { connectionLines, summaryLines, VIEW_COLUMNS, type ViewColumn } from './admin-view.js';
import { EXIT } from './exit-codes.js';

export interface TopFlags {
  /** Where the admin server is. */
  admin?: string;
  /** Seconds between two looks. */
  interval: number;
}

/** Rows where there is no terminal to fill. */
const PRINTED_ROWS = 50;
const MIN_ROWS = 3;
const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l';
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** @returns the exit code */
export async function top(flags: TopFlags): Promise<number> {
  const view = new TopView(new AdminClient(flags.admin), flags.interval * 1000);
  return process.stdin.isTTY && process.stdout.isTTY ? view.watch() : view.print();
}

class TopView {
  readonly #client: AdminClient;
  readonly #interval: number;
  #sort: Pick<ViewColumn, 'sort'> = { sort: 'rateIn' };
  #lines: readonly string[] = [];
  #wake: () => void = () => {};
  #isOver = false;

  constructor(client: AdminClient, interval: number) {
    this.#client = client;
    this.#interval = interval;
  }

  /** One look. Rates need a look before it. */
  async print(): Promise<number> {
    await this.#look(1);
    await new Promise((resolve) => setTimeout(resolve, this.#interval));
    process.stdout.write(`${(await this.#look(PRINTED_ROWS)).join('\n')}\n`);
    return EXIT.OK;
  }

  /** Until `q` is pressed. */
  async watch(): Promise<number> {
    const { stdin, stdout } = process;
    // A broker that is not there at all ends the command before it takes the screen.
    this.#lines = await this.#look(this.#rows);
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

  get #rows(): number {
    const others = 14;
    return Math.max(MIN_ROWS, (process.stdout.rows || 24) - others);
  }

  async #look(rows: number): Promise<string[]> {
    const stats = await this.#client.get<BrokerStats>('/api/stats');
    const { sort } = this.#sort;
    const list = await this.#client.get<ConnectionList>(`/api/connections?sort=${sort}&limit=${rows}`);
    return [...summaryLines(stats), '', ...connectionLines(list, sort)];
  }

  /** A broker that goes away may come back: the last figures stay until it does. */
  async #refresh(): Promise<void> {
    try {
      this.#lines = await this.#look(this.#rows);
    } catch (error) {
      this.#lines = [describeError(error), ...this.#lines.slice(1)];
    }
  }

  readonly #draw = (): void => {
    const { columns = 80, rows = 24 } = process.stdout;
    const keys = VIEW_COLUMNS.map(({ key, title }) => `${key} ${title.toLowerCase()}`).join(' ');
    const lines = [...this.#lines.slice(0, rows - 2), '', `q quit  sort: ${keys}`].slice(-rows);
    const text = lines.map((line) => line.slice(0, columns) + CLEAR_LINE).join('\r\n');
    process.stdout.write(HOME + text + CLEAR_BELOW);
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
