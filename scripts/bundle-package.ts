// Makes the package smaller and faster to load before it is packed: bundles the compiled modules of dist/src into a few
// files, and their declarations into those of the entry points. Every file that is loaded by its path keeps that path.
// Dependencies are not bundled.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { type OutputChunk, type OutputOptions, rolldown } from 'rolldown';
import { minifySync, parseSync } from 'rolldown/utils';
import { dts } from 'rolldown-plugin-dts';

/** Files that are loaded by their path at run time, beside the entry points of package.json. */
const LOADED_BY_PATH = [
  'admin/admin-handler.js',
  'admin/admin-server.js',
  'cli/bench/bench-peers.js',
  'cli/bench/run-bench.js',
  'cli/demo/demo-peers.js',
  'cli/demo/run-demo.js',
  'connection/tls-server.js',
  'dispatch/worker-pool.js',
  'server/open-fleet.js',
  'worker/worker.js',
];
/** Files that browsers load. */
const FOR_BROWSERS = /^(admin\/dashboard\/.*|browser\/.*|formats\.js)$/;
/** Names of dependencies. */
const EXTERNAL = /^[^./]/;
/** Functions and classes keep their names, since stack traces contain them. */
const MINIFIED = { compress: true, mangle: { keepNames: true }, codegen: true } as const;
/** Longer lines are broken, in characters: Node prints the line of an error that nobody catches. */
const LINE_LENGTH = 500;
/** Lists in a syntax tree with parts that may each begin a line. */
const LISTS = ['body', 'declarations', 'properties'];

interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
}

/** The folder of the package. */
const root = resolve(process.argv[2] ?? '.');
const source = join(root, 'dist/src');
const { bin, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
const entries = Object.values(exports).filter((entry) => typeof entry !== 'string');

await bundle([...Object.values(bin), ...entries.map((entry) => entry.default)]);
shrinkForBrowsers();
await bundleDeclarations(entries.map(({ types }) => types));

/** Replaces the modules by bundles. @param published paths of the modules that users load, relative to the package */
async function bundle(published: readonly string[]): Promise<void> {
  const modules = [...published.map((path) => relative(source, join(root, path))), ...LOADED_BY_PATH].filter(
    (path) => !FOR_BROWSERS.test(path),
  );
  const chunks = await generate(modules, '.js', { minify: MINIFIED });
  requireSamePaths(chunks);
  replace(
    '.js',
    chunks.map(({ fileName, code }) => ({ fileName, code: breakLines(fileName, code) })),
  );
}

/** Replaces the declarations by those of the entry points. @param published their paths, relative to the package */
async function bundleDeclarations(published: readonly string[]): Promise<void> {
  const declarations = published.map((path) => relative(source, join(root, path)));
  const chunks = await generate(declarations, '.d.ts', {}, dts({ dtsInput: true, tsconfig: false }));
  replace('.d.ts', chunks);
}

/**
 * Bundles files, each into one of the same path, and what they share into others.
 * @param paths relative to dist/src
 * @param extension of all of them
 */
async function generate(
  paths: readonly string[],
  extension: string,
  options: OutputOptions,
  plugins: ReturnType<typeof dts> = [],
): Promise<OutputChunk[]> {
  const bundled = await rolldown({
    input: Object.fromEntries(paths.map((path) => [path.slice(0, -extension.length), join(source, path)])),
    cwd: root,
    external: EXTERNAL,
    platform: 'node',
    plugins,
  });
  const { output } = await bundled.generate({
    ...options,
    format: 'esm',
    entryFileNames: `[name]${extension}`,
    chunkFileNames: `chunk-[hash]${extension}`,
  });
  return output.filter((file) => file.type === 'chunk');
}

/** Replaces all files with an extension, except those for browsers. */
function replace(extension: string, chunks: readonly Pick<OutputChunk, 'fileName' | 'code'>[]): void {
  for (const path of filesIn(source, extension)) if (!isForBrowsers(path)) rmSync(join(source, path));
  for (const { fileName, code } of chunks) {
    mkdirSync(dirname(join(source, fileName)), { recursive: true });
    writeFileSync(join(source, fileName), code);
  }
}

/** Makes what browsers load smaller, file by file: the dashboard's files are served by their names. */
function shrinkForBrowsers(): void {
  for (const path of filesIn(source, '.js').filter(isForBrowsers)) {
    const { code, errors } = minifySync(path, readFileSync(join(source, path), 'utf8'), MINIFIED);
    if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
    writeFileSync(join(source, path), code);
  }
  // No text of them depends on its indentation.
  for (const path of [...filesIn(source, '.html'), ...filesIn(source, '.css')])
    writeFileSync(join(source, path), readFileSync(join(source, path), 'utf8').replace(/^ +/gm, ''));
}

/** Breaks minified code into lines, between statements and the like. */
function breakLines(name: string, code: string): string {
  const starts = startsIn(parseSync(name, code).program).sort((a, b) => a - b);
  const lines: string[] = [];
  let from = 0;
  for (const start of starts) {
    if (start - from < LINE_LENGTH) continue;
    lines.push(code.slice(from, start));
    from = start;
  }
  return [...lines, code.slice(from)].join('\n');
}

/** Where the parts of {@link LISTS} start. */
function startsIn(node: object): number[] {
  return Object.entries(node).flatMap(([name, value]: [string, unknown]) => {
    if (value === null || typeof value !== 'object') return [];
    const parts: unknown[] = Array.isArray(value) ? value : [value];
    const isBreakable = Array.isArray(value) && LISTS.includes(name);
    return parts.flatMap((part) => {
      if (part === null || typeof part !== 'object') return [];
      const own = isBreakable && 'start' in part && typeof part.start === 'number' ? [part.start] : [];
      return [...own, ...startsIn(part)];
    });
  });
}

function isForBrowsers(path: string): boolean {
  return FOR_BROWSERS.test(path) && path.endsWith('.js');
}

/**
 * A module that uses URLs relative to its own must be bundled into a file of the same folder, and what is loaded by its
 * path must keep it. @throws Error if LOADED_BY_PATH misses one
 */
function requireSamePaths(chunks: readonly OutputChunk[]): void {
  const names = new Set(chunks.map(({ fileName }) => fileName));
  for (const { fileName, moduleIds } of chunks) {
    for (const module of moduleIds.map((id) => relative(source, id))) {
      const code = readFileSync(join(source, module), 'utf8');
      const urls = [...code.matchAll(/new URL\('([^']+\.js)', import\.meta\.url\)/g)];
      if (urls.length > 0 && dirname(module) !== dirname(fileName))
        throw new Error(`${module} uses relative URLs, and is bundled into ${fileName}`);
      const targets = [
        ...urls.map(([, target = '']) => join(dirname(module), target)),
        ...[...code.matchAll(/importInstalled\('([^']+)'\)/g)].map(([, target = '']) => target),
      ];
      const lost = targets.find((path) => !names.has(path) && !FOR_BROWSERS.test(path));
      if (lost !== undefined) throw new Error(`${module} loads ${lost}, which is bundled into another file`);
    }
  }
}

/** The files with this extension, relative to the folder. */
function filesIn(folder: string, extension: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith(extension),
  );
}
