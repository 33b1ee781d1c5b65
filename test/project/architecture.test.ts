// What the guide for contributors promises of the source: layers, of which each imports only those below it.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { MessageRegistry } from 'sluice';
import { expect, test } from 'vitest';
import { packageRoot } from '../support/cli.js';

const source = join(packageRoot, 'src');

/** The folders of `src`, each above all that it may import. Files outside of folders import none, but for `index.ts`. */
const LAYERS = [
  'browser',
  'messages',
  'wire',
  'memory',
  'config',
  'pattern',
  'dispatch',
  'delivery',
  'routing',
  'log',
  'fleet',
  'protocol',
  'feed',
  'worker',
  'connection',
  'admin',
  'server',
  'drop-in',
  'check',
  'client',
  'testing',
  'traffic',
  'cli',
];
/** What the client may load of the rest: nothing of the broker. */
const CLIENT =
  /^(client\/|messages\/|wire\/|config\/defaults\.ts$|(backoff|closest-name|errors|fifo|known-options|safe-emitter|timeout|version|watermark)\.ts$)/;

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(source, name));

/** The project's own files that a file imports, types and those loaded later included. */
function importsOf(file: string): string[] {
  return pathsIn(file, readFileSync(file, 'utf8'));
}

/** The project's own files that a file loads. */
function loadedBy(file: string): string[] {
  return pathsIn(file, readFileSync(file, 'utf8').replace(/^(?:import|export) type [^;]+;$/gm, ''));
}

function pathsIn(file: string, text: string): string[] {
  const imports = text.matchAll(/(?:from |import\()'(\.[^']+)\.js'/g);
  return [...imports].map(([, path]) => `${join(dirname(file), path ?? '')}.ts`);
}

const nameOf = (file: string) => relative(source, file);
const layerOf = (file: string) => LAYERS.indexOf(nameOf(file).split('/')[0] ?? '');

test('every folder is a layer', () => {
  const folders = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map(({ name }) => name).sort()).toEqual(LAYERS.toSorted());
});

test('imports run downwards', () => {
  const upwards = files
    .filter((file) => nameOf(file) !== 'index.ts')
    .flatMap((file) => importsOf(file).map((imported) => ({ file, imported })))
    .filter(({ file, imported }) => layerOf(imported) > layerOf(file))
    .map(({ file, imported }) => `${nameOf(file)} → ${nameOf(imported)}`);
  expect(files.length).toBeGreaterThan(100);
  expect(upwards).toEqual([]);
});

function cyclesOf(importsOf: (file: string) => readonly string[]): string[] {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    const at = trail.indexOf(file);
    if (at !== -1) cycles.push([...trail.slice(at), file].map(nameOf).join(' → '));
    if (at !== -1 || done.has(file)) return;
    for (const imported of importsOf(file)) visit(imported, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  return cycles;
}

test('files load each other without cycles', () => {
  expect(cyclesOf(loadedBy)).toEqual([]);
});

test('types have no cycles, but for a connection that knows the pipeline that it belongs to', () => {
  const known = 'connection/socket-connection.ts → connection/pipeline.ts';
  expect(cyclesOf(importsOf).filter((cycle) => !cycle.includes(known))).toEqual([]);
});

test('pattern matching, dispatch, workers and routing know no message type by name', () => {
  const types = MessageRegistry.builtin().types.filter(
    ({ direction }) => direction === 'crawler' || direction === 'app',
  );
  const names = types.map(({ name }) => name);
  const literal = new RegExp(`'(?:${names.join('|')})'`);
  const engine = files.filter((file) => /^(pattern|dispatch|worker|routing)\//.test(nameOf(file)));
  expect(engine.length).toBeGreaterThan(30);
  expect(engine.filter((file) => literal.test(readFileSync(file, 'utf8'))).map(nameOf)).toEqual([]);
});

/** All of the project's files that a file loads or imports types from, directly or not; itself included. */
function reachableFrom(file: string, importsOf: (file: string) => readonly string[]): string[] {
  const reached = new Set<string>();
  const visit = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    importsOf(file).forEach(visit);
  };
  visit(join(source, file));
  return [...reached];
}

test('the client loads nothing of the broker', () => {
  const loaded = reachableFrom('client/index.ts', importsOf);
  expect(loaded.map(nameOf).filter((name) => !CLIENT.test(name))).toEqual([]);
});

test('a worker starts without modules that it may never need and that load slowly', () => {
  const slow = /^import (?!type )[^;]+ from '(?:node:crypto|piscina|commander|pino|prom-client)';$/m;
  const loaded = reachableFrom('worker/worker.ts', loadedBy);
  expect(loaded.length).toBeGreaterThan(30);
  expect(loaded.filter((file) => slow.test(readFileSync(file, 'utf8'))).map(nameOf)).toEqual([]);
});
