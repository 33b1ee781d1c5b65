import { describe, expect, test } from 'vitest';
import { cutRun, type FrameRun, SELECTED, Selection, WITH_META, wholeRun } from '#src/delivery/frame-run.js';
import { Gatherer } from '#src/delivery/gatherer.js';
import { CopyPool } from '#src/memory/copy-pool.js';
import { Traffic } from '#src/traffic/traffic.js';
import { line, VALID } from '../../support/messages.js';
import { runOf } from '../../support/runs.js';

/** What a subscriber should get, put together without any of the code under test. */
function expected(run: FrameRun, indexes: readonly number[], mark: number): string {
  const { id, crawlerId = null, host } = run.sender;
  return indexes
    .map((index) => {
      const message = run.message(index).toString();
      const offset = run.firstOffset === undefined ? {} : { offset: run.firstOffset + index };
      const position = { ...(host === undefined ? {} : { host }), seq: run.firstSequence + index, ...offset };
      const wrapper = { from: id, crawlerId, ...position, message: JSON.parse(message) as unknown };
      return `${mark === WITH_META ? JSON.stringify(wrapper) : message}\n`;
    })
    .join('');
}

function selectionOf(indexes: readonly number[], mark: number): Selection {
  const selection = new Selection();
  for (const index of indexes) selection.add(index, mark);
  return selection;
}

/** Checks what subscribers of every message, of every third one, and of some that follow each other get. */
function expectGathered(run: FrameRun, selected = run.count): void {
  const all = Array.from({ length: run.count }, (_, index) => index);
  for (const indexes of [all, all.filter((index) => index % 3 === 0), all.filter((index) => index % 7 < 4)]) {
    for (const mark of [SELECTED, WITH_META]) {
      const { bytes, messages } = run.gatherer.gather(run, selectionOf(indexes, mark), selected);
      expect(bytes.toString()).toBe(expected(run, indexes, mark));
      expect(messages).toBe(indexes.length);
    }
  }
}

/** The run of valid messages without escapes, which `JSON.stringify` reproduces. */
function messages(count: number): string {
  const traffic = new Traffic({ seed: 1, escaped: 0 });
  return Array.from({ length: count }, () => `${traffic.nextLine()}\n`).join('');
}

describe('messages in one piece', () => {
  test.each([
    ['numbers that get another digit', { firstSequence: 8 }],
    ['large numbers', { firstSequence: 99_999_999_990 }],
    ['a crawler and a host', { sender: { crawlerId: 'crawler-1', host: 'host-1' } }],
    ['offsets', { firstOffset: 98, firstSequence: 5 }],
    ['any alignment in the slab', { padding: 13 }],
  ])('%s', (_name, options) => {
    const run = runOf(messages(120), options);
    expectGathered(run);
    // Message by message, since few are selected.
    expectGathered(run, 1);
  });

  test('some with `meta`, others without', () => {
    const run = runOf(messages(60));
    const selection = new Selection();
    let text = '';
    for (let index = 0; index < run.count; index++) {
      if (index % 5 === 4) continue;
      const mark = index % 3 === 0 ? WITH_META : SELECTED;
      selection.add(index, mark);
      text += expected(run, [index], mark);
    }
    for (const selected of [run.count, 1])
      expect(run.gatherer.gather(run, selection, selected).bytes.toString()).toBe(text);
  });

  test('several subscribers of one run, and of the next one', () => {
    const gatherer = new Gatherer(new CopyPool(64 * 1024));
    for (const count of [10, 200, 1]) {
      const run = runOf(messages(count), { gatherer });
      expectGathered(run);
      expectGathered(run);
      gatherer.endTurn();
    }
  });

  test('long messages, and more of them than the memory for a run holds', () => {
    const long = line({
      ...VALID.job_progress,
      data: { ...VALID.job_progress.data, message: 'x'.repeat(30_000) },
    });
    const run = runOf((long + messages(3)).repeat(30));
    expect(run.span).toBeGreaterThan(800 * 1024);
    expectGathered(run);
  });

  test('short messages, whose sender and number take more bytes than the memory for the result holds', () => {
    const beat = line(VALID.heartbeat);
    const crawlerId = 'c'.repeat(1000);
    const run = runOf(beat.repeat(1200), { sender: { crawlerId } });
    expectGathered(run);
  });

  test('undelimited messages get delimiters', () => {
    const run = runOf(messages(50).replaceAll('\n', ''));
    expect(run.isUndelimited).toBe(true);
    expect(wholeRun(run).bytes.toString()).toBe(messages(50));
    expectGathered(run);
  });

  test('a piece does not change with the next one', () => {
    const run = runOf(messages(100));
    const [first] = cutRun(run, selectionOf([1, 3, 5], SELECTED));
    const text = first?.bytes.toString();
    cutRun(run, selectionOf([2, 4, 6, 8], WITH_META));
    expect(first?.bytes.toString()).toBe(text);
  });
});
