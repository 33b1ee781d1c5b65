// `sluice completion`: prints a script with which a shell completes commands, flags and values.

import { Argument, type Command } from 'commander';
import type { CommandDefinition } from '../common/command-definition.js';
import type { Shell } from '../completion/completion-script.js';

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish'];

export const definition: CommandDefinition = {
  description: 'print a shell script that completes commands, flags and values',
  define: (command) =>
    command.addArgument(new Argument('<shell>', 'target shell').choices(SHELLS)).action(completion),
  examples: [
    ['source <(sluice completion bash)', 'in ~/.bashrc'],
    ['source <(sluice completion zsh)', 'in ~/.zshrc, after compinit'],
    ['sluice completion fish > ~/.config/fish/completions/sluice.fish', 'run once'],
  ],
};

async function completion(shell: Shell, _flags: unknown, { parent }: Command): Promise<void> {
  const { completionScript } = await import('../completion/completion-script.js');
  process.stdout.write(completionScript(shell, parent?.commands ?? []));
}
