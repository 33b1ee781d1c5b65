// The documents say what the code does: each list in them is checked against its source, both ways.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import { OPTION_SPECS } from '#src/config-sources.js';
import { WIRE_ERRORS } from '#src/errors.js';
import { startAdminBroker } from './support/admin.js';
import { packageRoot } from './support/cli.js';
import { line, VALID } from './support/messages.js';

const protocol = readFileSync(join(packageRoot, 'docs/protocol.md'), 'utf8');
const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8');
const inside = readFileSync(join(packageRoot, 'docs/seeing-inside.md'), 'utf8');

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
      ...`${protocol}${readme}${inside}`.matchAll(
        /`((?:max|min|heartbeat|connection|stall|drain|send)[A-Z]\w+)`/g,
      ),
    ];
    const unknown = mentioned
      .map(([, name]) => name ?? '')
      .filter((name) => !names.has(name) && !/^heartbeatMissed/.test(name));
    expect(unknown).toEqual([]);
    expect(mentioned.length).toBeGreaterThan(10);
  });
});

describe('docs/seeing-inside.md', () => {
  test('lists every metric with its labels, and no other', async () => {
    const { connect, get } = await startAdminBroker();
    const peer = await connect();
    peer.write(line(VALID.heartbeat) + line({ type: 'nonsense' }));
    await peer.settled();
    const { body } = await get('/metrics');
    const labels = new Map<string, string>();
    for (const [, name = ''] of body.matchAll(/^# TYPE (sluice_\w+) /gm)) {
      const series = new RegExp(`^${name}(?:_bucket)?\\{(.*?)\\}`, 'm').exec(body)?.[1] ?? '';
      labels.set(name, [...series.matchAll(/(\w+)="/g)].map(([, label]) => label).join(','));
    }
    const rows = [...inside.matchAll(/^\| `(sluice_\w+)` \|([^|]*)\|/gm)].map(
      ([, name, names = '']) => [name, names.replaceAll(/[` ]/g, '')] as const,
    );
    expect(rows.toSorted()).toEqual([...labels].toSorted());
  });

  test('lists every path, and no other', async () => {
    const { get } = await startAdminBroker();
    const paths = [...inside.matchAll(/^\| `(\/\S*)` \|/gm)].map(([, path = '']) => path);
    expect(paths.length).toBe(9);
    for (const path of paths.filter((name) => name !== '/events')) expect((await get(path)).status).toBe(200);
  });
});
