// The completion script for bash.

import type { Completable, CompletedCommand } from './completion-model.js';

/** Only there are words names of files, with a slash after those of folders: a folder may be named as a command is. */
const FILES = `compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"));`;

export function bashScript(commands: readonly CompletedCommand[]): string {
  return `# Completion of sluice for bash. In ~/.bashrc: source <(sluice completion bash)

_sluice() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command= at
  # --flag=value comes as three words.
  [[ $cur == '=' ]] && cur=
  [[ $prev == '=' ]] && prev=\${COMP_WORDS[COMP_CWORD-2]}
  for ((at = 1; at < COMP_CWORD; at++)); do
    if [[ \${COMP_WORDS[at]} != -* ]]; then
      command=\${COMP_WORDS[at]}
      break
    fi
  done
  local IFS=$'\\n'
  COMPREPLY=()
  case "$command $prev" in
${commands.flatMap(valueCases).join('\n')}
  esac
  case $command in
    '') ${compgen(['--help', '--version', 'help', ...commands.map(({ name }) => name)])} ;;
${commands.map(commandCase).join('\n')}
  esac
}

complete -F _sluice sluice
`;
}

function valueCases({ name, flags }: CompletedCommand): string[] {
  return flags.flatMap((flag) =>
    flag.value === undefined ? [] : [`    '${name} ${flag.name}') ${reply(flag.value)} return ;;`],
  );
}

function commandCase({ name, flags, argument }: CompletedCommand): string {
  const ofFlags = compgen(flags.map((flag) => flag.name));
  if (argument === undefined) return `    ${name}) ${ofFlags} ;;`;
  return `    ${name}) if [[ $cur == -* ]]; then ${ofFlags}; else ${reply(argument)} fi ;;`;
}

function reply(value: Completable): string {
  if (value.kind === 'words') return `${compgen(value.words)};`;
  return value.kind === 'file' ? FILES : 'COMPREPLY=();';
}

function compgen(words: readonly string[]): string {
  // IFS is a newline there.
  return `COMPREPLY=($(compgen -W $'${words.join('\\n')}' -- "$cur"))`;
}
