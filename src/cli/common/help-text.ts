// The end of each command's help: examples, notes and exit codes.

import type { Command } from 'commander';

interface HelpText {
  /** Command lines, each with its effect. */
  readonly examples: readonly (readonly [command: string, effect: string])[];
  readonly notes?: readonly string[];
}

const EXIT_CODES =
  'Exit codes: 0 success, 1 something failed or was rejected, 64 wrong arguments, 66 input file not found, 69 no broker is running, 78 invalid configuration.';
const TOKEN =
  'If the broker requires a token, set SLUICE_TOKEN: other users could read it on the command line.';

const ADMIN = 'Needs the admin server of the broker: sluice serve --admin 127.0.0.1:9464.';

const TEXTS: Readonly<Record<string, HelpText>> = {
  serve: {
    examples: [
      ['sluice serve', 'listen on the default socket'],
      [
        'sluice serve --socket /run/sluice.sock --workers 4',
        'listen on this socket, with four validation workers',
      ],
      ['sluice serve --schemas ./my-schemas.mjs', 'also accept your own message types'],
      ['SOCKET_MAX_CONNECTIONS=200 sluice serve --print-config', 'show the effective options'],
    ],
    notes: ['Prints a JSON line with "msg":"listening" when ready.'],
  },
  pub: {
    examples: [
      ['sluice pub messages.ndjson', 'send a file'],
      ['tail -f crawler.log | sluice pub', 'send lines as they are written'],
      ['SLUICE_TOKEN=… sluice pub --role app assignments.ndjson', 'send assignments to crawlers'],
    ],
    notes: [
      'The broker reports at most maxErrorReplies rejections per second (default: 10). sluice check reports all.',
      TOKEN,
    ],
  },
  sub: {
    examples: [
      ['sluice sub', 'print all messages from crawlers'],
      ["sluice sub --types 'job_*' | jq .data", 'only messages about jobs'],
      ['sluice sub --types rejected', 'rejected messages, and why they were rejected'],
      [
        'sluice sub --crawler crawler-1 --meta',
        'messages from one crawler, each with its sender and sequence number',
      ],
    ],
    notes: [TOKEN],
  },
  check: {
    examples: [
      ['sluice check messages.ndjson', 'print the errors in each message'],
      ['zcat old.ndjson.gz | sluice check --quiet && echo valid', 'use the exit code in a script'],
      ["sluice check --json messages.ndjson | jq 'select(.code)'", 'machine-readable output'],
      [
        'sluice check --schemas ./my-schemas.mjs --max-errors 20 messages.ndjson',
        'check your own message types; stop after 20 rejected messages',
      ],
    ],
    notes: ['Prints FILE:LINE: PATH CODE MESSAGE [REJECTED_WITH TYPE]. Message values are never printed.'],
  },
  bench: {
    examples: [
      ['sluice bench', 'a million messages from one publisher to one subscriber'],
      ['sluice bench --pub 4 --sub 10 --msgs 200000', 'four publishers, ten subscribers'],
      ['sluice bench --size 4096', 'messages of 4 KiB instead of the crawler mix'],
      ['sluice bench --latency 1000', 'latency of single messages, at 1,000 per second'],
    ],
    notes: [
      'All subscribers of the broker receive the messages: do not use a broker in production.',
      'If the broker requires tokens, set SLUICE_TOKEN for the subscribers and SLUICE_CRAWLER_TOKEN for the publishers.',
    ],
  },
  schemas: {
    examples: [
      ['sluice schemas', 'the built-in types'],
      ['sluice schemas --schemas ./my-schemas.mjs', 'also your own types, and why some have no pattern'],
    ],
  },
  top: {
    examples: [
      ['sluice top', 'live view; the keys are listed below the table'],
      [
        'sluice top --admin /run/sluice-admin.sock --interval 5',
        'admin server on a Unix socket, refreshed every five seconds',
      ],
      ['sluice top | head -12', 'print the view once'],
    ],
    notes: [ADMIN],
  },
  status: {
    examples: [
      ['sluice status', 'show the status'],
      ['sluice status --json | jq .rates', 'machine-readable output'],
      ['until sluice status >/dev/null; do sleep 1; done', 'wait until the broker is ready'],
    ],
    notes: [ADMIN],
  },
  demo: {
    examples: [
      ['sluice demo', 'eight crawlers, 5,000 messages a second'],
      ['sluice demo --rate 0 --duration 30', 'as fast as possible'],
      ['sluice demo --admin :9464', 'with the dashboard at http://127.0.0.1:9464/'],
    ],
  },
  completion: {
    examples: [
      ['source <(sluice completion bash)', 'in ~/.bashrc'],
      ['source <(sluice completion zsh)', 'in ~/.zshrc, after compinit'],
      ['sluice completion fish > ~/.config/fish/completions/sluice.fish', 'run once'],
    ],
  },
};

/** Adds the texts to the program and its commands. */
export function addHelpTexts(program: Command): void {
  program.addHelpText('after', `\nRun sluice COMMAND --help for examples.\n${EXIT_CODES}`);
  for (const command of program.commands) {
    const text = TEXTS[command.name()];
    if (text !== undefined) command.addHelpText('after', helpText(text));
  }
}

function helpText({ examples, notes = [] }: HelpText): string {
  const lines = examples.flatMap(([command, effect]) => [`  # ${effect}`, `  ${command}`]);
  return ['', 'Examples:', ...lines, '', ...notes, EXIT_CODES].join('\n');
}
