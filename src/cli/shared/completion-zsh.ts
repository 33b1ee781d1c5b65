// The completion script for zsh.

import type { Completable, CompletedCommand, CompletedFlag } from './completion-model.js';

export function zshScript(commands: readonly CompletedCommand[]): string {
  return `#compdef sluice
# Completion of sluice for zsh. In ~/.zshrc, after compinit: source <(sluice completion zsh)

_sluice() {
  local state line
  local -a commands
  commands=(
${commands.map(({ name, description }) => `    ${quoted(`${name}:${description}`)}`).join('\n')}
  )
  _arguments -C '(- *)--help[display help for command]' '(- *)--version[output the version number]' \\
    '1: :->command' '*:: :->rest'
  case $state in
    command) _describe command commands ;;
    rest)
      case $words[1] in
${commands.map(commandCase).join('\n')}
      esac
      ;;
  esac
}

if [[ $funcstack[1] == _sluice ]]; then
  _sluice "$@"
else
  compdef _sluice sluice
fi
`;
}

function commandCase({ name, flags, argument }: CompletedCommand): string {
  const specs = flags.map(flagSpec);
  if (argument !== undefined) specs.push(quoted(`1:argument${action(argument)}`));
  return `        ${name}) _arguments ${specs.join(' ')} ;;`;
}

function flagSpec({ name, description, value }: CompletedFlag): string {
  // A flag may be given again: the shell need not know which ones may not.
  const text = description.replaceAll(/[[\]:\\]/g, '\\$&');
  return quoted(`*${name}[${text}]${value === undefined ? '' : `:value${action(value)}`}`);
}

function action(value: Completable): string {
  if (value.kind === 'words') return `:(${value.words.join(' ')})`;
  return value.kind === 'file' ? ':_files' : ': ';
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
