// Generates docs/options.md from the options schema (`npm run docs`). A test compares the two.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { OPTION_GROUPS } from '#src/config/config.js';
import { DEFAULT_SOCKET_PATH } from '#src/config/defaults.js';
import { OPTION_SPECS, type OptionSpec } from '#src/config/sources.js';

const INTRODUCTION = `# Options

<!-- Written by \`npm run docs\` from src/config/config.ts. Change it there. -->

Options are read from four sources; the first that sets a value wins:

1. the flag of \`sluice serve\` (\`--max-connections 200\`);
2. the environment (\`SLUICE_MAX_CONNECTIONS=200\`), also for \`SOCKET_CONFIG\` in a program;
3. the JSON file of \`--config FILE\` (\`{ "maxConnections": 200, "workers": { "threads": 4 } }\`);
4. the default.

In a program, pass the options as the first argument of \`new SocketManager\` or \`new SocketServer\`, with the names in
the first column. \`sluice serve --print-config\` prints the effective configuration, without tokens, as a file for
\`--config\`. If a value is invalid or a name is unknown, the broker does not start: it reports the name and exits with
code 78. Only the values of the source that wins are checked.

Set either \`port\` or \`socketPath\`. If two sources disagree, the higher one wins; setting both in one source is an error.

## Values

**Sizes** are in bytes, or have a unit: \`64k\`, \`256M\`, \`1.5G\`. Units are powers of 1024: \`1k\`, \`1kB\` and \`1KiB\` are
1024 bytes. **Times** are in milliseconds, or have a unit: \`500ms\`, \`10s\`, \`2m\` (minutes), \`1h\`, \`1d\`. In JSON and in
a program, values with a unit are strings: \`{ "maxMessageSize": "256k" }\`.

**Booleans** are \`true\` or \`false\`. A flag without a value means \`true\`: \`--feed\`.

**Relative paths** are relative to the working directory at the start of \`sluice\` or, in a program, at the construction
of the server, even those in a file. Files are in UTF-8, with or without a byte order mark.

**Environment variables** begin with \`SLUICE_\`. The older prefix \`SOCKET_\` still works (\`SOCKET_MAX_CONNECTIONS\`, and
\`SOCKET_PATH\`, \`SOCKET_MODE\`, \`SOCKET_GROUP\`); if both are set, \`SLUICE_\` wins. An empty variable is not set. An
unknown name that begins with \`SLUICE_\` is an error, so use another prefix for variables of your own. Variables that
Kubernetes sets for a Service named \`sluice\` or \`socket\` (\`SLUICE_PORT=tcp://…\`) are ignored.

`;

/** The range of a numeric option in its JSON Schema. */
interface JsonNumber {
  readonly minimum?: number;
  readonly maximum?: number;
}

/** @returns the content of docs/options.md */
export function optionsPage(): string {
  const sections = Object.keys(OPTION_GROUPS).map(
    (heading) => `## ${heading}\n\n${table(OPTION_SPECS.filter(({ group }) => group === heading))}`,
  );
  return INTRODUCTION + sections.join('\n');
}

function table(specs: readonly OptionSpec[]): string {
  const head =
    '| option | description | values | default | flag | environment |\n|---|---|---|---|---|---|\n';
  return head + specs.map((spec) => `${row(spec)}\n`).join('');
}

function row(spec: OptionSpec): string {
  // The default path depends on the machine.
  const description = spec.description.replace(
    DEFAULT_SOCKET_PATH,
    '$XDG_RUNTIME_DIR/sluice.sock or /tmp/sluice.sock',
  );
  const cells = [
    `\`${spec.name}\``,
    description,
    valuesOf(spec),
    defaultOf(spec, description),
    spec.isSecret ? 'none: command lines are visible to other users' : `\`${spec.flag}\``,
    `\`${spec.environment}\``,
  ];
  return `| ${cells.join(' | ')} |`.replaceAll('  ', ' ');
}

function valuesOf(spec: OptionSpec): string {
  if (spec.choices !== undefined) return spec.choices.map((choice) => `\`${choice}\``).join(' ');
  if (spec.kind === 'list') return 'list';
  if (!['number', 'size', 'time'].includes(spec.kind)) return spec.kind;
  // The JSON Schema of a number may have these keys.
  const { minimum, maximum } = z.toJSONSchema(spec.schema, { io: 'input' }) as JsonNumber;
  return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER
    ? `${grouped(minimum ?? 0)} or more`
    : `${grouped(minimum ?? 0)} to ${grouped(maximum)}`;
}

function defaultOf(spec: OptionSpec, description: string): string {
  if (spec.default === undefined || description.includes('default:')) return '';
  return `\`${JSON.stringify(spec.default)}\``;
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(import.meta.dirname, '../../docs/options.md'), optionsPage());
}
