// `sluice schemas`: lists the message types, whether each has a pattern, and if not, why; or prints them as JSON Schema.

import type { MessageDirection } from '../../messages/message-registry.js';
import type { PatternResult } from '../../pattern/pattern-set.js';
import type { BrokerFlags } from '../common/broker-options.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { CONFIG_FLAG } from '../common/flags.js';
import { warn } from '../common/output.js';

export const definition: CommandDefinition = {
  description: 'list the message types and whether each has a compiled pattern',
  brokerOptions: ['schemas', 'maxMessageAge', 'maxClockSkew'],
  define: (command) =>
    command
      .option(...CONFIG_FLAG)
      .option('--json', 'print the messages as one JSON Schema, for code generators')
      .action(schemas),
  examples: [
    ['sluice schemas', 'the built-in types'],
    [
      'sluice schemas --schemas ./my-schemas.mjs',
      'also your own types, and what their patterns cannot check',
    ],
    ['sluice schemas --json > messages.schema.json', 'for Pydantic, Go and other languages'],
  ],
};

const NAME_WIDTH = 26;
const COLUMN_WIDTH = 10;

async function schemas(flags: BrokerFlags & { readonly json?: boolean }): Promise<void> {
  const { resolveFlags } = await import('../common/broker-options.js');
  const { MessageRegistry } = await import('../../messages/message-registry.js');
  const { compileResults } = await import('../../pattern/pattern-set.js');
  const { createParser, parserSettings } = await import('../../worker/create-parser.js');
  const options = resolveFlags(flags);
  const registry = await MessageRegistry.load(options.schemas);
  if (flags.json === true) {
    const { schemaDocument } = await import('../../admin/json-schemas.js');
    process.stdout.write(`${JSON.stringify(schemaDocument(registry), null, 2)}\n`);
    return;
  }
  let reason: string | undefined;
  const { patterns } = createParser(
    registry,
    { ...parserSettings(options), patterns: 'on' },
    (unavailable) => {
      reason = unavailable;
      warn(`no pattern can be used: ${reason}`);
    },
  );
  const results = compileResults(registry, patterns, reason);
  const rows = registry.types
    .filter(({ index }) => index > 0)
    .map(({ name, direction }) => [name, direction, ...describe(direction, results.get(name))]);
  for (const [name = '', direction = '', state = '', reason = ''] of [
    ['type', 'from', 'pattern', ''],
    ...rows,
  ]) {
    const line =
      name.padEnd(NAME_WIDTH) + direction.padEnd(COLUMN_WIDTH) + state.padEnd(COLUMN_WIDTH) + reason;
    process.stdout.write(`${line.trimEnd()}\n`);
  }
}

function describe(
  direction: MessageDirection,
  result: PatternResult | undefined,
): [state: string, reason: string] {
  if (direction === 'broker') return ['none', 'sent only by the broker'];
  if (result === undefined) return ['none', 'always parsed: the broker uses these messages itself'];
  if ('declined' in result) return ['none', result.declined];
  const { omitted, checked } = result;
  if (omitted.length === 0) return [checked.length === 0 ? 'compiled' : 'checked', checked.join('; ')];
  return ['partial', [...omitted, ...checked.map((field) => `checked: ${field}`)].join('; ')];
}
