// `sluice completion`: a script that lets a shell complete commands, flags and values. Written from the commands
// themselves, so it knows what they know; pressing TAB starts no program.

import type { Command } from 'commander';
import { bashScript } from '../shared/completion-bash.js';
import { fishScript } from '../shared/completion-fish.js';
import { completedCommand } from '../shared/completion-model.js';
import { zshScript } from '../shared/completion-zsh.js';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** A shell that can complete. */
export type Shell = keyof typeof SCRIPTS;

/** The script for a shell. */
export function completionScript(shell: Shell, program: Command): string {
  return SCRIPTS[shell](program.commands.map(completedCommand));
}
