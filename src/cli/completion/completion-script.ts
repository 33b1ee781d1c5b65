// The script with which a shell completes commands, flags and values. It is generated from the command definitions and
// contains all the data: pressing TAB starts no process.

import type { Command, Option } from 'commander';
import type { OptionSpec } from '../../config/sources.js';
import { BrokerOption } from '../common/broker-options.js';

/** The possible values of a flag or an argument. */
type Completable =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  /** A file name. */
  | { readonly kind: 'file' }
  /** Free text that cannot be completed, such as a number or a name. */
  | { readonly kind: 'anything' };

/** The data of a flag that the scripts contain. */
interface CompletedFlag {
  /** `--framing`. */
  readonly name: string;
  readonly description: string;
  /** Its possible values; `undefined` if the flag has no value. */
  readonly value: Completable | undefined;
}

/** The data of a command that the scripts contain. */
interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly CompletedFlag[];
  readonly argument: Completable | undefined;
}

const FILE: Completable = { kind: 'file' };
const ANYTHING: Completable = { kind: 'anything' };
const HELP: CompletedFlag = { name: '--help', description: 'display help for command', value: undefined };

function completedCommand(command: Command): CompletedCommand {
  const [argument] = command.registeredArguments;
  return {
    name: command.name(),
    description: command.description(),
    flags: [...command.options.filter(({ long }) => long).map(completedFlag), HELP],
    argument: argument && completable(argument.argChoices, argument.name()),
  };
}

function completedFlag(option: Option): CompletedFlag {
  const takesValue = option.required || option.optional;
  return {
    name: option.long ?? '',
    // Omits the part in parentheses, which is only for the help: values, default, environment variable.
    description: option.description.split(' (', 1)[0] ?? '',
    value: takesValue ? flagValue(option) : undefined,
  };
}

function flagValue(option: Option): Completable {
  if (option instanceof BrokerOption) return brokerOptionValue(option.spec);
  return completable(option.argChoices, /[<[]([^<>[\]]+)[>\]]/.exec(option.flags)?.[1]);
}

function brokerOptionValue({ choices, kind }: OptionSpec): Completable {
  if (choices !== undefined) return words(choices);
  if (kind === 'boolean') return words(['true', 'false']);
  return kind === 'path' ? FILE : ANYTHING;
}

/** @param placeholder the name of the value in the help */
function completable(choices: readonly string[] | undefined, placeholder: string | undefined): Completable {
  if (choices !== undefined) return words(choices);
  return placeholder === 'file' || placeholder === 'path' ? FILE : ANYTHING;
}

function words(list: readonly string[]): Completable {
  return { kind: 'words', words: list };
}

// bash

/** Sets `filenames` only where files are expected: it appends a slash to any word that is also the name of a folder. */
const BASH_FILES = `compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"));`;

function bashScript(commands: readonly CompletedCommand[]): string {
  return `# Completion of sluice for bash. In ~/.bashrc: source <(sluice completion bash)

_sluice() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command= at
  # Bash splits --flag=value into three words.
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
${commands.flatMap(bashValueCases).join('\n')}
  esac
  case $command in
    '') ${bashWords(['--help', '--version', 'help', ...commands.map(({ name }) => name)])} ;;
${commands.map(bashCommandCase).join('\n')}
  esac
}

complete -F _sluice sluice
`;
}

function bashValueCases({ name, flags }: CompletedCommand): string[] {
  return flags.flatMap((flag) =>
    flag.value === undefined ? [] : [`    '${name} ${flag.name}') ${bashReply(flag.value)} return ;;`],
  );
}

function bashCommandCase({ name, flags, argument }: CompletedCommand): string {
  const flagWords = bashWords(flags.map((flag) => flag.name));
  if (argument === undefined) return `    ${name}) ${flagWords} ;;`;
  return `    ${name}) if [[ $cur == -* ]]; then ${flagWords}; else ${bashReply(argument)} fi ;;`;
}

function bashReply(value: Completable): string {
  if (value.kind === 'words') return `${bashWords(value.words)};`;
  return value.kind === 'file' ? BASH_FILES : 'COMPREPLY=();';
}

function bashWords(words: readonly string[]): string {
  // The script sets IFS to a newline.
  return `COMPREPLY=($(compgen -W $'${words.join('\\n')}' -- "$cur"))`;
}

// zsh

function zshScript(commands: readonly CompletedCommand[]): string {
  return `#compdef sluice
# Completion of sluice for zsh. In ~/.zshrc, after compinit: source <(sluice completion zsh)

_sluice() {
  local state line
  local -a commands
  commands=(
${commands.map(({ name, description }) => `    ${zshQuoted(`${name}:${description}`)}`).join('\n')}
  )
  _arguments -C '(- *)--help[display help for command]' '(- *)--version[output the version number]' \\
    '1: :->command' '*:: :->rest'
  case $state in
    command) _describe command commands ;;
    rest)
      case $words[1] in
${commands.map(zshCommandCase).join('\n')}
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

function zshCommandCase({ name, flags, argument }: CompletedCommand): string {
  const specs = flags.map(zshFlag);
  if (argument !== undefined) specs.push(zshQuoted(`1:argument${zshValue(argument)}`));
  return `        ${name}) _arguments ${specs.join(' ')} ;;`;
}

function zshFlag({ name, description, value }: CompletedFlag): string {
  // The asterisk allows the flag to be repeated. Flags that must not be are not treated specially.
  const text = description.replaceAll(/[[\]:\\]/g, '\\$&');
  return zshQuoted(`*${name}[${text}]${value === undefined ? '' : `:value${zshValue(value)}`}`);
}

function zshValue(value: Completable): string {
  if (value.kind === 'words') return `:(${value.words.join(' ')})`;
  return value.kind === 'file' ? ':_files' : ': ';
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// fish

function fishScript(commands: readonly CompletedCommand[]): string {
  return `# Completion of sluice for fish: sluice completion fish > ~/.config/fish/completions/sluice.fish

complete -c sluice -f
complete -c sluice -n __fish_use_subcommand -l help -d 'display help for command'
complete -c sluice -n __fish_use_subcommand -l version -d 'output the version number'
${commands.flatMap(fishLines).join('\n')}
`;
}

function fishLines({ name, description, flags, argument }: CompletedCommand): string[] {
  const prefix = `complete -c sluice -n '__fish_seen_subcommand_from ${name}'`;
  return [
    `complete -c sluice -n __fish_use_subcommand -a ${name} -d ${fishQuoted(description)}`,
    ...flags.map((flag) => `${prefix} ${fishFlag(flag)}`),
    ...(argument === undefined ? [] : [`${prefix} ${fishValue(argument)}`]),
  ];
}

function fishFlag({ name, description, value }: CompletedFlag): string {
  const valueOptions = value === undefined ? '' : ` -r ${fishValue(value)}`;
  return `-l ${name.slice(2)} -d ${fishQuoted(description)}${valueOptions}`;
}

function fishValue(value: Completable): string {
  if (value.kind === 'words') return `-f -a ${fishQuoted(value.words.join(' '))}`;
  return value.kind === 'file' ? '-F' : '-f';
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** A shell for which there is a script. */
export type Shell = keyof typeof SCRIPTS;

/** The completion script of a shell for all commands of the program. */
export function completionScript(shell: Shell, commands: readonly Command[]): string {
  return SCRIPTS[shell](commands.map(completedCommand));
}
