// The completion script for fish.

import type { Completable, CompletedCommand, CompletedFlag } from './completion-model.js';

export function fishScript(commands: readonly CompletedCommand[]): string {
  return `# Completion of sluice for fish: sluice completion fish > ~/.config/fish/completions/sluice.fish

complete -c sluice -f
complete -c sluice -n __fish_use_subcommand -l help -d 'display help for command'
complete -c sluice -n __fish_use_subcommand -l version -d 'output the version number'
${commands.flatMap(commandLines).join('\n')}
`;
}

function commandLines({ name, description, flags, argument }: CompletedCommand): string[] {
  const here = `complete -c sluice -n '__fish_seen_subcommand_from ${name}'`;
  return [
    `complete -c sluice -n __fish_use_subcommand -a ${name} -d ${quoted(description)}`,
    ...flags.map((flag) => `${here} ${flagArguments(flag)}`),
    ...(argument === undefined ? [] : [`${here} ${argumentOf(argument)}`]),
  ];
}

function flagArguments({ name, description, value }: CompletedFlag): string {
  const follows = value === undefined ? '' : ` -r ${argumentOf(value)}`;
  return `-l ${name.slice(2)} -d ${quoted(description)}${follows}`;
}

function argumentOf(value: Completable): string {
  if (value.kind === 'words') return `-f -a ${quoted(value.words.join(' '))}`;
  return value.kind === 'file' ? '-F' : '-f';
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
