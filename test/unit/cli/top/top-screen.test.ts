import { expect, test } from 'vitest';
import type { BrokerStats, ConnectionRow } from '#src/admin/snapshot.js';
import { type TopData, TopScreen } from '#src/cli/top/top-screen.js';
import { connectionRow } from '../../../support/connection-row.js';

const SIZE = { columns: 100, lines: 24 };
const SMALL = { columns: 40, lines: 10 };
const SUMMARY = [
  'broker    running',
  'in        1',
  'out       2',
  'rejected  3',
  'dropped   4',
  'latency   5',
];
/** Rows on the screen of these sizes, below this summary. */
const PAGE = 12;
const SMALL_PAGE = 4;

/** Crawlers with descending rates: `crawler-1` is the busiest. */
function crawlers(count: number): ConnectionRow[] {
  return Array.from({ length: count }, (_, index) =>
    connectionRow({ id: `conn-${index + 1}`, crawlerId: `crawler-${index + 1}`, rateIn: count - index }),
  );
}

function dataOf(rows: readonly ConnectionRow[], total = rows.length): TopData {
  return { isReady: true, summary: SUMMARY, list: { total, rows }, sort: 'rateIn' };
}

function screenOf(data: TopData, size = SIZE) {
  const screen = new TopScreen();
  screen.update(data);
  /** Presses keys by their names, or types characters. */
  const press = (...keys: string[]) => {
    for (const key of keys) {
      const isCharacter = [...key].length === 1;
      screen.onKey(isCharacter ? key : undefined, { name: key }, size);
    }
  };
  const frame = () => screen.frame(size);
  const peers = () =>
    frame()
      .map((line) => /^(crawler-\d+|app-\d+|conn-\d+)/.exec(line)?.[1])
      .filter((name) => name !== undefined);
  return { screen, press, frame, peers, text: () => frame().join('\n') };
}

test('a part of the list is on the screen, and keys move it', () => {
  const { press, peers, text } = screenOf(dataOf(crawlers(30)));
  expect(peers()).toHaveLength(PAGE);
  expect(text()).toContain('1–12 of 30');
  press('down', 'down', 'up');
  expect(peers()[0]).toBe('crawler-2');
  press('pagedown');
  expect(text()).toContain('14–25 of 30');
  press('pagedown', 'pagedown');
  expect(text()).toContain('19–30 of 30');
  press('pageup');
  expect(text()).toContain('7–18 of 30');
  press('home', 'up');
  expect(text()).toContain('1–12 of 30');
  press('end', 'down');
  expect(peers().at(-1)).toBe('crawler-30');
});

test('at the end of the list, it moves back when rows vanish', () => {
  const { screen, press, peers, text } = screenOf(dataOf(crawlers(30)));
  press('end');
  screen.update(dataOf(crawlers(20)));
  expect(text()).toContain('9–20 of 20');
  screen.update(dataOf(crawlers(3)));
  expect(peers()).toEqual(['crawler-1', 'crawler-2', 'crawler-3']);
  expect(text()).toContain('1–3 of 3');
  screen.update(dataOf([]));
  expect(text()).toContain('0 of 0');
});

test('fits every size, and keeps the last line', () => {
  const { screen } = screenOf(dataOf(crawlers(50)));
  for (const lines of [1, 2, 3, 5, 10, 16, 24, 60]) {
    for (const columns of [1, 10, 40, 80, 200]) {
      const frame = screen.frame({ columns, lines });
      expect(frame.length, `${columns} × ${lines}`).toBeLessThanOrEqual(lines);
      for (const line of frame) expect(line.length).toBeLessThanOrEqual(columns);
      expect(frame.at(-1)).toBe(columns < 6 ? '' : screen.frame({ columns, lines: 24 }).at(-1));
    }
  }
});

test('in 40 × 10, there are rows, their range and the most important keys', () => {
  const { frame, peers, press } = screenOf(dataOf(crawlers(50)), SMALL);
  expect(peers()).toHaveLength(SMALL_PAGE);
  expect(frame()).toHaveLength(SMALL.lines);
  expect(frame()[0]).toBe('broker    running');
  expect(frame().slice(-2)).toEqual(['1–4 of 50', 'q quit  ? help  / filter  t types']);
  press('end');
  expect(frame().at(-2)).toBe('47–50 of 50');
});

test('a longer list of hosts leaves room for rows', () => {
  const summary = Array.from({ length: 40 }, (_, index) => `line ${index}`);
  const { peers } = screenOf({ ...dataOf(crawlers(50)), summary });
  expect(peers()).toHaveLength(4);
});

test('a screen that grows shows more rows from where it is', () => {
  const { screen, press, frame } = screenOf(dataOf(crawlers(50)), SMALL);
  press('end');
  expect(screen.frame(SIZE)).toContain('39–50 of 50');
  expect(frame()).toContain('39–42 of 50');
});

test('r reverses the order, from the top', () => {
  const { press, peers, text } = screenOf(dataOf(crawlers(30)));
  press('end', 'r');
  expect(peers()[0]).toBe('crawler-30');
  expect(text()).toContain('1–12 of 30, reversed');
  press('r');
  expect(peers()[0]).toBe('crawler-1');
});

test('a filter applies while it is typed; Enter keeps it, Escape clears it', () => {
  const { press, peers, frame, text } = screenOf(dataOf(crawlers(30)));
  press('/', '-', '2', '9', 'backspace');
  expect(frame().at(-1)).toBe('filter: -2_ (Enter keeps it, Escape clears it)');
  expect(peers()).toEqual([
    'crawler-2',
    ...Array.from({ length: 10 }, (_, index) => `crawler-${20 + index}`),
  ]);
  press('return');
  expect(text()).toContain('1–11 of 11, filter: -2');
  expect(frame().at(-1)).toMatch(/^q quit/);
  press('escape');
  expect(text()).toContain('1–12 of 30');
  expect(text()).not.toContain('filter:');
});

test('a filter matches the id, the crawler, the name and the role, in any case', () => {
  const { press, text } = screenOf(
    dataOf([
      connectionRow({ id: 'conn-1', role: 'app', name: 'Results-Writer' }),
      connectionRow({ id: 'conn-2', crawlerId: 'crawler-2' }),
      connectionRow({ id: 'conn-3', role: 'observer' }),
    ]),
  );
  const matchesOf = (filter: string) => {
    press('/', ...filter, 'return');
    const [, count] = /of (\d+), filter/.exec(text()) ?? [];
    press('escape');
    return Number(count);
  };
  expect(['CONN-', 'crawler-2', 'results', 'observer', 'nothing'].map(matchesOf)).toEqual([3, 1, 1, 1, 0]);
});

test('control characters are not part of a filter, whose length has a limit', () => {
  const { screen, press, frame } = screenOf(dataOf(crawlers(3)));
  press('/');
  for (const text of ['\u001b', '\u0007', '\u009b', '\u202e', '\t', 'c']) screen.onKey(text, {}, SIZE);
  expect(frame().at(-1)).toMatch(/^filter: c_/);
  for (let count = 0; count < 100; count++) press('x');
  expect(frame().at(-1)?.replace(/[^x]/g, '').length).toBe(63);
});

test('keys are characters while a filter is typed, except for Ctrl-C', () => {
  const { screen, press, frame } = screenOf(dataOf(crawlers(3)));
  press('/');
  expect(screen.onKey('q', { name: 'q' }, SIZE)).toBe(false);
  expect(frame().at(-1)).toMatch(/^filter: q_/);
  expect(screen.onKey('\u0003', { name: 'c', ctrl: true }, SIZE)).toBe(true);
});

test('Escape and a key at once are both', () => {
  const { screen, press } = screenOf(dataOf(crawlers(3)));
  press('/', 'x');
  expect(screen.onKey(undefined, { name: 'q', meta: true }, SIZE)).toBe(true);
  expect(screen.frame(SIZE).join('\n')).toContain('1–3 of 3');
});

test('the end of a long filter is shown in a narrow terminal', () => {
  const { press, frame } = screenOf(dataOf(crawlers(3)), SMALL);
  press('/', ...'abcdefghij'.repeat(5), '!');
  expect(frame().at(-1)).toHaveLength(SMALL.columns);
  expect(frame().at(-1)).toMatch(/hij!_$/);
});

test('? lists all keys, and scrolls in a small terminal', () => {
  const { press, frame } = screenOf(dataOf(crawlers(3)), SMALL);
  for (const key of ['?', 'h']) {
    press(key);
    const shown = new Set(frame());
    for (let count = 0; count < 20; count++) {
      press('down');
      for (const line of frame()) shown.add(line);
    }
    for (const text of ['reverse the order', 'pause, continue', 'quit', 'sort by peer', 'sort by out']) {
      expect(
        [...shown].some((line) => line.endsWith(text)),
        text,
      ).toBe(true);
    }
    expect(frame().at(-1)).toBe('Escape back, q quit');
    press('escape');
    expect(frame().at(-1)).toMatch(/^q quit {2}\? help/);
  }
});

test('t shows the message types, with an order and a filter of their own', () => {
  const stats = {
    accepted: { heartbeat: 1200, job_progress: 50, job_failed: 7 },
    control: { hello: 3 },
    rates: { byType: { heartbeat: 2.5, job_progress: 40 } },
  } as unknown as BrokerStats;
  const { press, frame, text } = screenOf({ ...dataOf(crawlers(3)), stats });
  press('t');
  const rows = () => frame().filter((line) => /^(heartbeat|job_|hello)/.test(line));
  expect(rows().map((line) => line.split(/ {2,}/))).toEqual([
    ['job_progress', '40', '50'],
    ['heartbeat', '2.5', '1,200'],
    ['job_failed', '0', '7'],
    ['hello', '–', '3'],
  ]);
  press('a', 'r');
  expect(rows().map((line) => line.split(' ')[0])).toEqual([
    'hello',
    'job_failed',
    'job_progress',
    'heartbeat',
  ]);
  press('/', 'j', 'o', 'b', 'return');
  expect(text()).toContain('1–2 of 2, reversed, filter: job');
  press('t');
  expect(text()).toContain('1–3 of 3');
  expect(text()).not.toContain('filter:');
});

test('requests the rows on the screen and the next page, and all of them if their order does not suffice', () => {
  const { screen, press } = screenOf(dataOf(crawlers(2 * PAGE), 300));
  const limit = () => screen.query(SIZE).limit;
  expect([limit(), screen.isIncomplete(SIZE)]).toEqual([2 * PAGE, false]);
  press('pagedown');
  expect([limit(), screen.isIncomplete(SIZE)]).toEqual([3 * PAGE, true]);
  screen.update(dataOf(crawlers(3 * PAGE), 300));
  expect(screen.isIncomplete(SIZE)).toBe(false);
  press('home', 'p');
  expect(screen.query(SIZE)).toEqual({ sort: 'pendingBytes', limit: 2 * PAGE });
  expect(screen.isIncomplete(SIZE)).toBe(true);
  for (const key of ['r', ' ']) {
    press(key);
    expect(limit()).toBe(10_000);
    press(key);
    expect(limit()).toBe(2 * PAGE);
  }
  press('/', 'x');
  expect(limit()).toBe(10_000);
});

test('rows that are not known yet leave no empty screen', () => {
  const { press, peers, text } = screenOf(dataOf(crawlers(2 * PAGE), 300));
  press('end');
  expect(peers()).toHaveLength(PAGE);
  expect(text()).toContain('13–24 of 300');
});

test('more connections than can be requested are counted', () => {
  const { screen, text } = screenOf(dataOf(crawlers(2 * PAGE), 12_345));
  expect(text()).toContain('1–12 of 10,000, 12,345 connections');
  screen.update(dataOf(crawlers(10_000), 12_345));
  expect(screen.isIncomplete(SIZE)).toBe(false);
});

test('space pauses, and while it is paused, the rows can be sorted', () => {
  const rows = crawlers(30).map((row, index) => ({ ...row, pendingBytes: index }));
  const { screen, press, peers, text } = screenOf(dataOf(rows));
  press(' ');
  expect([screen.isPaused, text().includes('1–12 of 30, paused')]).toEqual([true, true]);
  press('p');
  expect(screen.isIncomplete(SIZE)).toBe(false);
  expect(peers()[0]).toBe('crawler-30');
  press(' ');
  expect(screen.isPaused).toBe(false);
});

test('while the broker is starting, only that is shown', () => {
  const { frame, press } = screenOf({ isReady: false, summary: ['broker    starting'], sort: 'rateIn' });
  press('down', 't', 'end', 't');
  expect(frame()[0]).toBe('broker    starting');
  expect(frame().at(-1)).toMatch(/^q quit/);
});
