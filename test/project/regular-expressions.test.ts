// No regular expression of the source takes more than linear time, whatever it is given: each is run on inputs made of
// its own parts, of two lengths. Polynomial ones take 16 times as long and more on four times the length.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAst } from 'vitest/node';
import { redactedSample, SAMPLE_BYTES } from '#src/protocol/redaction.js';
import { packageRoot } from '../support/cli.js';
import { shortestTime, timeRatio } from '../support/timing.js';

const compiled = join(packageRoot, 'dist/src');
const SHORT = 4096;
const LONG = 4 * SHORT;
/** Between 4 (linear) and 16 (quadratic), with room for noise; below so many ms, there is nothing to see. */
const MAX_FACTOR = 10;
const MIN_TIME = 2;

interface Node {
  readonly type?: string;
  readonly regex?: { readonly pattern: string; readonly flags: string };
  readonly callee?: { readonly name?: string };
  readonly arguments?: readonly Node[];
}

/** The expressions of a file, and the calls of `RegExp` that make others when the program runs. */
function expressionsOf(file: string): { literals: RegExp[]; made: number } {
  const literals: RegExp[] = [];
  let made = 0;
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) for (const part of value) visit(part);
    else if (typeof value === 'object' && value !== null && !(value instanceof RegExp)) {
      const node: Node = value;
      if (node.regex !== undefined) literals.push(new RegExp(node.regex.pattern, node.regex.flags));
      if (node.callee?.name === 'RegExp') made++;
      for (const part of Object.values(value)) visit(part);
    }
  };
  visit(parseAst(readFileSync(join(compiled, file), 'utf8').replace(/^#!.*/, '')));
  return { literals, made };
}

const files = readdirSync(compiled, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.js'),
);
const found = files.map((file) => ({ file, ...expressionsOf(file) }));
const literals = found.flatMap(({ file, literals }) => literals.map((expression) => ({ file, expression })));

/** What to repeat: the characters and words of the expression, and what is apt to make any backtrack. */
function pumpsFor({ source }: RegExp): string[] {
  const words = source.match(/[\w":{},-]+/g) ?? [];
  return [
    ...new Set([
      ...source,
      ...words,
      ...words.map((word) => `${word} `),
      'a',
      '0',
      ' ',
      '"',
      '\\',
      '{"type":"error"},',
      'é',
    ]),
  ];
}

function growthOf(expression: RegExp, pump: string): { factor: number; time: number } {
  const input = (length: number) => `${pump.repeat(Math.ceil(length / pump.length))}\n\0`;
  const [short, long] = [input(SHORT), input(LONG)];
  const time = shortestTime(() => void long.replace(expression, ''), MIN_TIME);
  if (time < MIN_TIME) return { factor: 0, time };
  const run = (text: string) => () => void text.replace(expression, '');
  return { factor: timeRatio(run(long), run(short), MAX_FACTOR), time };
}

test('every regular expression takes linear time', () => {
  expect(literals.length).toBeGreaterThan(25);
  const slow: string[] = [];
  for (const { file, expression } of literals) {
    for (const pump of pumpsFor(expression)) {
      const { factor, time } = growthOf(expression, pump);
      if (factor > MAX_FACTOR)
        slow.push(`${file}: ${expression} on ${pump}: × ${factor.toFixed(1)}, ${time} ms`);
    }
  }
  expect(slow).toEqual([]);
});

test('expressions that are made when the program runs are tested here by name', () => {
  // That of the client is alternatives of fixed texts, anchored.
  const made = found.filter((file) => file.made > 0).map(({ file, made }) => `${file}: ${made}`);
  expect(made).toEqual(['client/broker-lines.js: 1']);
});

test('a sample of names that sound secret costs no more than a few of an ordinary one', () => {
  const sampleOf = (text: string) => Buffer.from(text.repeat(SAMPLE_BYTES).slice(0, SAMPLE_BYTES));
  const cost = (sample: Buffer) =>
    shortestTime(() => {
      for (let round = 0; round < 300; round++) redactedSample(sample);
    });
  const ordinary = cost(sampleOf('{"type":"job_progress","data":{"stage":"fetching","token":"abc"}} '));
  for (const word of ['pwd', 'token', 'secret', 'passw', 'api-key', 'session', 'a', 'token:', '"token":"']) {
    expect(cost(sampleOf(word))).toBeLessThan(50 * ordinary + 5);
  }
});
