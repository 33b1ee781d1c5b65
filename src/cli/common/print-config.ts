// `sluice serve --print-config`: the options that the broker would use.

import { type BrokerFlags, resolveFlags } from './broker-options.js';

export function printConfig(flags: BrokerFlags): void {
  process.stdout.write(`${JSON.stringify(resolveFlags(flags), withoutTokens, 2)}\n`);
}

/** How many tokens there are, in place of them. */
function withoutTokens(key: string, value: unknown): unknown {
  if (key !== 'tokens' || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([role, list]) => [role, `${(list as string[]).length} tokens`]),
  );
}
