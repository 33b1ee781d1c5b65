// Makes the package smaller and faster to load before it is packed: bundles the compiled modules of dist/src into a few
// files, and removes the declarations that no entry point needs. Every file that is loaded by its path keeps that path.
// Dependencies are not bundled.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build, type Metafile } from 'esbuild';

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
  // Has to be evaluated before everything else, and only modules are evaluated in order.
  'cli/common/small-heap.js',
];
/** The relative paths that a declaration imports. */
const IMPORTS = /(?:from |import |import\()['"](\.[^'"]+)\.js['"]/g;
/** Files that browsers load. */
const FOR_BROWSERS = /^(admin\/dashboard\/.*|browser\/.*|formats\.js)$/;

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
keepDeclarations(entries.map(({ types }) => join(root, types)));

/** Replaces the modules by bundles. @param published paths of the modules that users load, relative to the package */
async function bundle(published: readonly string[]): Promise<void> {
  const entryPoints = [
    ...published.map((path) => join(root, path)),
    ...LOADED_BY_PATH.map((path) => join(source, path)),
  ].filter((path) => !FOR_BROWSERS.test(path.slice(source.length + 1)));
  const { outputFiles, metafile } = await build({
    entryPoints,
    absWorkingDir: source,
    outbase: source,
    outdir: source,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    // Names stay as they are, since stack traces contain them.
    minifyWhitespace: true,
    minifySyntax: true,
    charset: 'utf8',
    metafile: true,
    write: false,
  });
  requireSamePaths(metafile);
  for (const path of filesIn(source, '.js')) if (!FOR_BROWSERS.test(path)) rmSync(join(source, path));
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents);
  }
}

/**
 * A module that uses URLs relative to its own must be bundled into a file of the same folder, and what is loaded by its
 * path must keep it. @throws Error if LOADED_BY_PATH misses one
 */
function requireSamePaths({ outputs }: Metafile): void {
  for (const [output, { inputs }] of Object.entries(outputs)) {
    for (const input of Object.keys(inputs)) {
      const code = readFileSync(join(source, input), 'utf8');
      const relative = [...code.matchAll(/new URL\('([^']+\.js)', import\.meta\.url\)/g)];
      if (relative.length > 0 && dirname(input) !== dirname(output))
        throw new Error(`${input} uses relative URLs, and is bundled into ${output}`);
      const targets = [
        ...relative.map(([, target = '']) => join(dirname(input), target)),
        ...[...code.matchAll(/importInstalled\('([^']+)'\)/g)].map(([, target = '']) => target),
      ];
      const lost = targets.find((path) => outputs[path] === undefined && !FOR_BROWSERS.test(path));
      if (lost !== undefined) throw new Error(`${input} loads ${lost}, which is bundled into another file`);
    }
  }
}

/** Removes the declarations that these do not import, directly or through others. @param published absolute paths */
function keepDeclarations(published: readonly string[]): void {
  const kept = new Set(published);
  // Also visits what is added meanwhile.
  for (const path of kept) {
    for (const [, target = ''] of readFileSync(path, 'utf8').matchAll(IMPORTS))
      kept.add(join(dirname(path), `${target}.d.ts`));
  }
  for (const path of filesIn(source, '.d.ts')) if (!kept.has(join(source, path))) rmSync(join(source, path));
}

/** The files with this extension, relative to the folder. */
function filesIn(folder: string, extension: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith(extension),
  );
}
