// `sluice schemas`: lists the message types, whether each has a pattern, and if not, why.

import { MessageRegistry } from '../../messages/message-registry.js';
import type { CompileResult } from '../../pattern/schema-to-ir.js';
import { createParser, parserSettings } from '../../worker/create-parser.js';
import { type BrokerFlags, resolveFlags } from '../common/broker-options.js';
import { EXIT } from '../common/exit-codes.js';

const NAME_WIDTH = 26;
const COLUMN_WIDTH = 10;

/** @returns the exit code */
export async function schemas(flags: BrokerFlags): Promise<number> {
  const options = resolveFlags(flags);
  const registry = await MessageRegistry.load(options.schemas);
  const { patterns } = createParser(registry, { ...parserSettings(options), patterns: 'on' });
  const rows = registry.types
    .filter(({ index }) => index > 0)
    .map(({ name, direction }) => [name, direction, ...describe(patterns?.results.get(name))]);
  for (const [name = '', direction = '', state = '', reason = ''] of [
    ['type', 'from', 'pattern', ''],
    ...rows,
  ]) {
    const line =
      name.padEnd(NAME_WIDTH) + direction.padEnd(COLUMN_WIDTH) + state.padEnd(COLUMN_WIDTH) + reason;
    process.stdout.write(`${line.trimEnd()}\n`);
  }
  return EXIT.OK;
}

function describe(result: CompileResult | undefined): [state: string, reason: string] {
  if (result === undefined) return ['none', 'always parsed: the broker uses these messages itself'];
  if ('declined' in result) return ['none', result.declined];
  return result.omitted.length === 0 ? ['compiled', ''] : ['partial', result.omitted.join('; ')];
}
