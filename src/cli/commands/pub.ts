// `sluice pub`: sends NDJSON from a file or from standard input, and reports rejected messages.

import type { CommandDefinition } from '../common/command-definition.js';
import { addConnectOptions, addTlsOptions, type ConnectFlags, TOKEN_NOTE } from '../common/flags.js';

export const definition: CommandDefinition = {
  description: 'send NDJSON messages; report rejected messages on standard error and exit 1 if there are any',
  define: (command) =>
    addTlsOptions(
      addConnectOptions(command.argument('[file]', 'input file, or - for standard input', '-'), 'crawler'),
    ).action(pub),
  examples: [
    ['sluice pub messages.ndjson', 'send a file'],
    ['tail -f crawler.log | sluice pub', 'send lines as they are written'],
    ['sluice pub --role relay saved.ndjson', 'resend saved crawler messages; their jobs keep their owners'],
    ['SLUICE_TOKEN=… sluice pub --role app assignments.ndjson', 'send assignments to crawlers'],
  ],
  notes: [
    'The broker reports at most maxErrorReplies rejections per second (default: 10). sluice check reports all.',
    TOKEN_NOTE,
  ],
};

async function pub(file: string, flags: ConnectFlags): Promise<void> {
  const { publishFile } = await import('../pub/publish-file.js');
  process.exitCode = await publishFile(file, flags);
}
