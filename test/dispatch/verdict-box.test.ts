import { MessageParser } from 'sluice';
import { expect, test } from 'vitest';
import { BatchValidator } from '#src/dispatch/batch-validator.js';
import type { Verdict } from '#src/dispatch/verdict.js';
import { VerdictBox } from '#src/dispatch/verdict-box.js';
import { line, VALID } from '../support/messages.js';

function verdictOn(text: string): Verdict {
  const memory = new SharedArrayBuffer(text.length);
  Buffer.from(memory).write(text);
  const batches = new BatchValidator(new MessageParser(), 0x0a);
  return batches.validate({
    arenas: [memory],
    ranges: Uint32Array.of(0, 0, text.length),
    wantsAllIssues: true,
  });
}

const progress = (jobId: string) => line({ ...VALID.job_progress, jobId });

test('a verdict comes out as it was put in, through shared memory, once', () => {
  const box = new VerdictBox();
  const sender = new VerdictBox(box.memory);
  const verdict = verdictOn(progress('job-ä') + line(VALID.heartbeat) + progress('job-2'));
  expect(box.take()).toBeUndefined();
  expect(sender.put(verdict)).toBe(true);
  box.wait(60_000);
  expect(box.take()).toEqual(verdict);
  expect(box.take()).toBeUndefined();
});

test('one that tells of refused messages does not fit, and whoever waits is woken', () => {
  const box = new VerdictBox();
  expect(box.put(verdictOn('{"type":"heartbeat"}\n'))).toBe(false);
  box.wait(60_000);
  expect(box.take()).toBeUndefined();
});

test('one with too many numbers or too long job ids does not fit', () => {
  const box = new VerdictBox();
  expect(box.put(verdictOn(line(VALID.heartbeat).repeat(3000)))).toBe(false);
  expect(box.put(verdictOn(progress('x'.repeat(20_000))))).toBe(false);
  expect(box.put(verdictOn(line(VALID.heartbeat)))).toBe(true);
});

test('nobody waits longer than asked', () => {
  const box = new VerdictBox();
  box.wait(1);
  expect(box.take()).toBeUndefined();
});
