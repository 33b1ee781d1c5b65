// The documents say what the code does: each list in them is checked against its source, both ways.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import { OPTION_SPECS } from '#src/config-sources.js';
import { WIRE_ERRORS } from '#src/errors.js';
import { packageRoot } from './support/cli.js';

const protocol = readFileSync(join(packageRoot, 'docs/protocol.md'), 'utf8');
const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8');

/** The names in backticks of the first column of each table row in a section. */
function firstColumn(heading: string): string[] {
  const section = protocol.split(/^## /m).find((text) => text.startsWith(heading)) ?? '';
  const rows = section.split('\n').filter((text) => /^\| `/.test(text));
  return rows.flatMap((row) =>
    [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? ''),
  );
}

test('the table of faults names tests that there are', () => {
  const rows = [...readme.matchAll(/\| `(test\/[\w./-]+)` \|$/gm)].map(([, path]) => path ?? '');
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter((path) => !existsSync(join(packageRoot, path)))).toEqual([]);
});

describe('docs/protocol.md', () => {
  test('lists every error code of the wire, and no other', () => {
    expect(firstColumn('Error codes').sort()).toEqual(Object.keys(WIRE_ERRORS).sort());
  });

  test.each([
    ['Crawler → application', ['crawler']],
    ['Application → crawler', ['app']],
    ['Control messages', ['control', 'broker']],
  ])('lists every message under %s, and no other', (heading, directions) => {
    const types = MessageRegistry.builtin().types.filter(
      ({ index, direction }) => index > 0 && directions.includes(direction),
    );
    expect(firstColumn(heading).sort()).toEqual(types.map(({ name }) => name).sort());
  });

  test('speaks of options that there are', () => {
    const names = new Set(OPTION_SPECS.map(({ name }) => name));
    const mentioned = [
      ...`${protocol}${readme}`.matchAll(/`((?:max|min|heartbeat|connection|stall|drain|send)[A-Z]\w+)`/g),
    ];
    const unknown = mentioned
      .map(([, name]) => name ?? '')
      .filter((name) => !names.has(name) && !/^heartbeatMissed/.test(name));
    expect(unknown).toEqual([]);
    expect(mentioned.length).toBeGreaterThan(10);
  });
});
