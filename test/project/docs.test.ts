// The documents say what the code does: each list in them is checked against its source, both ways.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { transformSync } from 'esbuild';
import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import { optionsPage } from '#scripts/options-page.js';
import { OPTION_GROUPS } from '#src/config/config.js';
import { OPTION_SPECS } from '#src/config/sources.js';
import { LOCAL_ERRORS, WIRE_ERRORS } from '#src/errors.js';
import { controlSchemas } from '#src/messages/messages.js';
import { metricsOfUse, shareAdminBroker } from '../support/admin.js';
import { temporaryFolder } from '../support/broker.js';
import { evaluate, packageRoot } from '../support/cli.js';

const protocol = readFileSync(join(packageRoot, 'docs/protocol.md'), 'utf8');
const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8');
const inside = readFileSync(join(packageRoot, 'docs/monitoring.md'), 'utf8');

const operations = page('operations.md');

function page(name: string): string {
  return readFileSync(join(packageRoot, 'docs', name), 'utf8');
}

/** The names in backticks of the first column of each table row in a section. */
function firstColumn(heading: string, text = protocol): string[] {
  const section = text.split(/^##+ /m).find((part) => part.startsWith(heading)) ?? '';
  const rows = section.split('\n').filter((text) => /^\| `/.test(text));
  return rows.flatMap((row) =>
    [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? ''),
  );
}

test('the table of faults names tests that there are', () => {
  const rows = [...page('reliability.md').matchAll(/\| `(test\/[\w./-]+)` \|$/gm)].map(
    ([, path]) => path ?? '',
  );
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
    const fields = Object.keys(controlSchemas.subscribe.shape.data.shape);
    const names = new Set([...OPTION_SPECS.map(({ name }) => name), ...fields]);
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

describe('docs/monitoring.md', () => {
  const broker = shareAdminBroker();

  test('lists every metric with its labels, and no other', async () => {
    const body = await metricsOfUse(broker());
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
    const { get } = broker();
    const paths = [...inside.matchAll(/^\| `(\/\S*)` \|/gm)].map(([, path = '']) => path);
    expect(paths.length).toBe(17);
    for (const path of paths.filter(
      (name) => !['/events', '/api/stream', '/api/tail', '/api/dead-letters'].includes(name),
    ))
      expect((await get(path)).status).toBe(200);
  });
});

test('docs/http-api.md lists the paths that docs/monitoring.md lists, and those of the actions', () => {
  const paths = firstColumn('HTTP API', page('http-api.md').replace(/^# /, '## '));
  const listed = [...inside.matchAll(/^\| `(\/\S*)` \|/gm)].map(([, path = '']) => path);
  expect(paths.filter((path) => path.startsWith('/') && !path.includes('ID')).sort()).toEqual(listed.sort());
  expect(firstColumn('Actions', page('http-api.md'))).toEqual([
    '/api/connections/ID/close',
    '/api/connections/ID/pause',
    '/api/connections/ID/resume',
    '/api/messages',
    '/api/dead-letters/drop',
    '/api/dead-letters/retry',
  ]);
});

describe('docs/operations.md', () => {
  test.each([
    ['To peers', WIRE_ERRORS],
    ['To programs and operators', LOCAL_ERRORS],
  ])('says under %s what to do about each error code, and about no other', (heading, errors) => {
    expect(firstColumn(heading, operations).sort()).toEqual(Object.keys(errors).sort());
  });

  test.each([
    ['development', ['stopped', 'running', false]],
    ['production', ['running', 'running', true]],
  ])('has a module whose evaluation again in %s leaves one server', async (environment, expected) => {
    const folder = temporaryFolder();
    const snippet = /```ts\n(\/\/ crawlers\.ts\n.*?)```/s.exec(operations)?.[1] ?? '';
    const { code } = transformSync(
      snippet
        .replace("'sluice'", `'${packageRoot}/dist/src/index.js'`)
        .replace('/run/crawlers.sock', join(folder, 'crawlers.sock')),
      { loader: 'ts' },
    );
    const module = join(folder, 'crawlers.mjs');
    writeFileSync(module, code);
    const program = `
      const first = await (await import('${module}?1')).crawlers;
      const second = await (await import('${module}?2')).crawlers;
      const states = [first, second].map((server) => server.getStatus().state);
      console.log(JSON.stringify([...states, first === second]));
      await second.stop();`;
    const { stdout } = await evaluate(program, { NODE_ENV: environment });
    expect(JSON.parse(stdout.split('\n').find((line) => line.startsWith('[')) ?? '')).toEqual(expected);
  });
});

test.each(Object.keys(OPTION_GROUPS))(
  'docs/options.md lists the options under %s, and no other',
  (heading) => {
    const specs = OPTION_SPECS.filter(({ group }) => group === heading);
    expect(firstColumn(heading, page('options.md'))).toEqual(specs.map(({ name }) => name));
  },
);

test('docs/options.md is what `npm run docs` writes', () => {
  expect(page('options.md')).toBe(optionsPage());
});

test('the pages link to files and pages that there are', () => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md'].concat(
    readdirSync(join(packageRoot, 'docs'))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  );
  const broken = pages.flatMap((name) => {
    const text = readFileSync(join(packageRoot, name), 'utf8');
    const links = [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, path]) => path ?? '');
    return links.filter((path) => !existsSync(join(packageRoot, dirname(name), path)));
  });
  expect(broken).toEqual([]);
});
