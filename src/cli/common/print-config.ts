// `sluice serve --print-config`: prints the effective options.

import { type BrokerFlags, resolveFlags } from './broker-options.js';

export function printConfig(flags: BrokerFlags): void {
  process.stdout.write(`${JSON.stringify(resolveFlags(flags), withoutTokens, 2)}\n`);
}

/** Replaces the tokens of each role by their number. */
function withoutTokens(key: string, value: unknown): unknown {
  if (key !== 'tokens' || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([role, list]) => [role, `${(list as string[]).length} tokens`]),
  );
}
