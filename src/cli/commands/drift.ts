// `sluice drift`: prints how the crawlers' messages differ from the contract.

import { printable, printableJson } from '../../printable.js';
import type { DriftEntry } from '../../protocol/drift-report.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { EXIT } from '../common/exit-codes.js';
import { ADMIN_FLAG, ADMIN_NOTE } from '../common/flags.js';
import { counted } from '../common/terminal.js';

interface DriftFlags {
  /** Address of the admin server. */
  admin?: string;
  json?: boolean;
}

export const definition: CommandDefinition = {
  description: 'show how messages differ from the schemas; exit 1 if any do, 69 if no broker is running',
  define: (command) =>
    command
      .option(...ADMIN_FLAG)
      .option('--json', 'print the report as JSON')
      .action(drift),
  examples: [
    ['sluice drift', 'keys, types and values that the schemas do not know, and who sends them'],
    ["sluice drift --json | jq '.[].path'", 'machine-readable output'],
  ],
  notes: [
    ADMIN_NOTE,
    'Messages are sampled: something new is found within its first messages, and its sightings are counted from then on.',
  ],
};

async function drift(flags: DriftFlags): Promise<void> {
  const { AdminClient } = await import('../common/admin-client.js');
  const entries = (await new AdminClient(flags.admin).get<DriftEntry[]>('/api/drift')) ?? [];
  const lines = entries.length === 0 ? ['no differences found'] : entries.flatMap(linesOf);
  process.stdout.write(`${flags.json ? printableJson(entries, 2) : lines.join('\n')}\n`);
  process.exitCode = entries.length === 0 ? EXIT.OK : EXIT.FAILURE;
}

const TITLES: Readonly<Record<DriftEntry['kind'], string>> = {
  unknown_key: 'unknown key',
  unknown_value: 'unknown value',
  unexpected_type: 'unexpected type',
  unknown_type: 'unknown message type',
};

/** The difference on one line, and each of its crawlers on another. */
function linesOf(entry: DriftEntry): string[] {
  const { kind, messageType, path, value, sightings, firstSeen, lastSeen } = entry;
  const place = path === '' ? messageType : `${messageType} ${path}`;
  const subject = value === undefined ? place : `${place} = ${value}`;
  const sources = entry.sources.map(
    ({ id, firstSeen: since }) => `  ${printable(id, '?')}, since ${timeOf(since)}`,
  );
  if (entry.hasMoreSources) sources.push('  and more');
  return [
    `${TITLES[kind]}: ${subject} (seen ${counted(sightings, 'time')} from ${timeOf(firstSeen)} to ${timeOf(lastSeen)})`,
    ...sources,
  ];
}

function timeOf(at: number): string {
  return new Date(at).toISOString();
}
