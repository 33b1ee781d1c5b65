import { describe, expect, test } from 'vitest';
import { type LineOutput, LineWriter } from '#src/connection/line-writer.js';

type Done = Parameters<LineOutput['write']>[1];

/** An output that is read when the test wants it. */
class SlowOutput implements LineOutput {
  attempts = 0;
  readonly #read: Buffer[] = [];
  #waiting: { bytes: Buffer; done: Done } | undefined;

  get text(): string {
    return Buffer.concat(this.#read).toString();
  }

  write(bytes: Buffer, done: Done): void {
    if (this.#waiting !== undefined) throw new Error('a write before the last one has ended');
    this.attempts++;
    this.#waiting = { bytes, done };
  }

  /** Takes what is written now, or its first bytes. Gives whether there was something. */
  read(size = Number.POSITIVE_INFINITY): boolean {
    const { bytes, done } = this.#take();
    if (bytes === undefined) return false;
    const taken = bytes.subarray(0, size);
    this.#read.push(taken);
    done?.(null, taken.length);
    return true;
  }

  fail(code: string): void {
    this.#take().done?.(Object.assign(new Error(code), { code }), 0);
  }

  #take(): { bytes?: Buffer; done?: Done } {
    const waiting = this.#waiting ?? {};
    this.#waiting = undefined;
    return waiting;
  }
}

describe('the writer of lines', () => {
  test('keeps the order, however much is read at a time', () => {
    const output = new SlowOutput();
    const writer = new LineWriter(output);
    const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}, ${'ä'.repeat(index % 50)}\n`);
    for (const line of lines) writer.write(line);
    for (let size = 1; output.read(size); size += 7);
    expect(output.text).toBe(lines.join(''));
    expect(writer.pendingBytes).toBe(0);
    expect(writer.droppedLines).toBe(0);
  });

  test('never has more than its bytes, and drops the newest lines, whole', () => {
    const output = new SlowOutput();
    const writer = new LineWriter(output, { maxBytes: 1000 });
    const kept: string[] = [];
    for (let index = 0; index < 300; index++) {
      const line = `${'é'.repeat(index % 40)}${index}\n`;
      const before = writer.droppedLines;
      writer.write(line);
      if (writer.droppedLines === before) kept.push(line);
      expect(writer.pendingBytes).toBeLessThanOrEqual(1000);
      if (index % 20 === 19) output.read(100);
    }
    while (output.read());
    expect(output.text).toBe(kept.join(''));
    expect(writer.droppedLines).toBe(300 - kept.length);
    expect(kept.length).toBeGreaterThan(50);
    expect(writer.droppedLines).toBeGreaterThan(50);
  });

  test('drops a line that is longer than the bound', () => {
    const output = new SlowOutput();
    const writer = new LineWriter(output, { maxBytes: 1000 });
    writer.write(`${'x'.repeat(1000)}\n`);
    expect(writer.droppedLines).toBe(1);
    expect(output.attempts).toBe(0);
  });

  test('reports once how many lines were dropped, in their place', () => {
    const output = new SlowOutput();
    const writer = new LineWriter(output, {
      maxBytes: 4000,
      onDropped: (dropped, error) => writer.write(`${dropped} dropped, ${error?.code}\n`),
    });
    for (let index = 0; index < 500; index++) writer.write(`${index} before\n`);
    const dropped = writer.droppedLines;
    expect(dropped).toBeGreaterThan(0);
    while (output.read());
    writer.write('after\n');
    while (output.read());
    const lines = output.text.split('\n');
    expect(lines.slice(-4)).toEqual([
      `${499 - dropped} before`,
      `${dropped} dropped, undefined`,
      'after',
      '',
    ]);
    expect(lines.length).toBe(500 - dropped + 3);
    expect(writer.droppedLines).toBe(dropped);
  });

  test('tries again after an error, and completes the line that was written in part', async () => {
    const output = new SlowOutput();
    const errors: string[] = [];
    const writer = new LineWriter(output, { onError: ({ code }) => errors.push(code ?? '') });
    writer.write('first line\n');
    output.read(3);
    output.fail('ENOSPC');
    writer.write('second line\n');
    await writer.flush(240_000);
    await expect.poll(() => output.attempts).toBe(3);
    output.fail('ENOSPC');
    await expect.poll(() => output.attempts).toBe(4);
    while (output.read());
    expect(output.text).toBe('first line\nsecond line\n');
    expect(errors).toEqual(['ENOSPC']);
  });

  test('names the error when lines were dropped for it', async () => {
    const output = new SlowOutput();
    const reports: unknown[] = [];
    const writer = new LineWriter(output, {
      maxBytes: 2000,
      onDropped: (dropped, error) => reports.push([dropped, error?.code]),
    });
    for (let index = 0; index < 3; index++) writer.write(`${'x'.repeat(999)}\n`);
    output.fail('ENOSPC');
    await expect.poll(() => output.attempts).toBe(2);
    while (output.read());
    expect(reports).toEqual([[1, 'ENOSPC']]);
  });

  test('flushes as far as it is read', async () => {
    const output = new SlowOutput();
    const writer = new LineWriter(output);
    await writer.flush(240_000);
    writer.write('line\n');
    await writer.flush(1);
    const flushed = writer.flush(240_000);
    output.read();
    await flushed;
    expect(output.text).toBe('line\n');
  });
});
