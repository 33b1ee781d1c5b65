// What the help of each command ends with: examples, and what it exits with.

import type { Command } from 'commander';

interface HelpText {
  /** What to type, and what it does. */
  readonly examples: readonly (readonly [command: string, effect: string])[];
  readonly notes?: readonly string[];
}

const EXIT_CODES =
  'Exit codes: 0 fine, 1 something failed or was rejected, 64 wrong arguments, 66 no such FILE, 69 no broker there, 78 a bad option, or a file that it names.';
const TOKEN =
  'Where the broker has tokens, put one into SLUICE_TOKEN: the command line can be read by others.';

const ADMIN = 'The broker must serve its figures: sluice serve --admin 127.0.0.1:9464.';

const TEXTS: Readonly<Record<string, HelpText>> = {
  serve: {
    examples: [
      ['sluice serve', 'listen where clients look by default'],
      [
        'sluice serve --socket /run/sluice.sock --workers 4',
        'listen at a path, with four validation workers',
      ],
      ['sluice serve --schemas ./my-schemas.mjs', 'take messages of your own, too'],
      ['SOCKET_MAX_CONNECTIONS=200 sluice serve --print-config', 'show what would be used'],
    ],
    notes: ['One JSON line with "msg":"listening" says that it is ready.'],
  },
  pub: {
    examples: [
      ['sluice pub messages.ndjson', 'send a file'],
      ['tail -f crawler.log | sluice pub', 'send what comes'],
      ['SLUICE_TOKEN=… sluice pub --role app assignments.ndjson', 'send assignments to crawlers'],
    ],
    notes: [
      'The broker tells of rejected messages maxErrorReplies times a second at most, 10 by default: sluice check tells all.',
      TOKEN,
    ],
  },
  sub: {
    examples: [
      ['sluice sub', 'print all that crawlers send'],
      ["sluice sub --types 'job_*' | jq .data", 'only messages about jobs'],
      ['sluice sub --types rejected', 'what the broker rejects, and why'],
      ['sluice sub --crawler crawler-1 --meta', 'one crawler’s, each with its sender and number'],
    ],
    notes: [TOKEN],
  },
  check: {
    examples: [
      ['sluice check messages.ndjson', 'print what is wrong with each message'],
      ['zcat old.ndjson.gz | sluice check --quiet && echo fine', 'ask in a script'],
      ["sluice check --json messages.ndjson | jq 'select(.code)'", 'for machines'],
      [
        'sluice check --schemas ./my-schemas.mjs --max-errors 20 messages.ndjson',
        'your own messages; stop soon',
      ],
    ],
    notes: [
      'Prints FILE:LINE: PATH CODE MESSAGE [REJECTED_WITH TYPE]. Values of messages are never printed.',
    ],
  },
  bench: {
    examples: [
      ['sluice bench', 'a million messages from one publisher to one subscriber'],
      ['sluice bench --pub 4 --sub 10 --msgs 200000', 'four publishers, ten subscribers'],
      ['sluice bench --size 4096', 'messages of 4 KiB, in place of a crawler’s mix'],
      ['sluice bench --latency 1000', 'how long one message takes, at 1,000 a second'],
    ],
    notes: [
      'Messages go to all subscribers of the broker: take one that nobody depends on.',
      'Where the broker has tokens: SLUICE_TOKEN is that of the subscribers, SLUICE_CRAWLER_TOKEN of the publishers.',
    ],
  },
  schemas: {
    examples: [
      ['sluice schemas', 'the protocol’s own types'],
      ['sluice schemas --schemas ./my-schemas.mjs', 'yours too: and why some have no pattern'],
    ],
  },
  top: {
    examples: [
      ['sluice top', 'watch the broker at work; the keys are below its table'],
      ['sluice top --admin /run/sluice-admin.sock --interval 5', 'at a path, every five seconds'],
      ['sluice top | head -12', 'once'],
    ],
    notes: [ADMIN],
  },
  status: {
    examples: [
      ['sluice status', 'how the broker is'],
      ['sluice status --json | jq .rates', 'for machines'],
      ['until sluice status >/dev/null; do sleep 1; done', 'wait until it is ready'],
    ],
    notes: [ADMIN],
  },
  demo: {
    examples: [
      ['sluice demo', 'eight crawlers, 5,000 messages a second'],
      ['sluice demo --rate 0 --duration 30', 'as fast as it goes'],
      ['sluice demo --admin :9464', 'with the dashboard at http://127.0.0.1:9464/'],
    ],
  },
  completion: {
    examples: [
      ['source <(sluice completion bash)', 'in ~/.bashrc'],
      ['source <(sluice completion zsh)', 'in ~/.zshrc, after compinit'],
      ['sluice completion fish > ~/.config/fish/completions/sluice.fish', 'once'],
    ],
  },
};

/** Adds the texts to the commands that have some. */
export function addHelpTexts(program: Command): void {
  program.addHelpText('after', `\nsluice COMMAND --help has examples.\n${EXIT_CODES}`);
  for (const command of program.commands) {
    const text = TEXTS[command.name()];
    if (text !== undefined) command.addHelpText('after', helpText(text));
  }
}

function helpText({ examples, notes = [] }: HelpText): string {
  const lines = examples.flatMap(([command, effect]) => [`  # ${effect}`, `  ${command}`]);
  return ['', 'Examples:', ...lines, '', ...notes, EXIT_CODES].join('\n');
}
