// `sluice completion`: a script that lets a shell complete commands, flags and values. Written from the commands
// themselves, so it knows what they know; pressing TAB starts no program.

import type { Command, Option } from 'commander';

/** What may stand after a flag, or as an argument. */
type Completable =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  /** The name of a file. */
  | { readonly kind: 'file' }
  /** Something that only the user knows: a number, a name. */
  | { readonly kind: 'anything' };

/** A flag, as a shell needs to know it. */
interface CompletedFlag {
  /** `--framing`. */
  readonly name: string;
  readonly description: string;
  /** What follows it; none: nothing does. */
  readonly value: Completable | undefined;
}

/** A command, as a shell needs to know it. */
interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly CompletedFlag[];
  readonly argument: Completable | undefined;
}

/** Flags and placeholders of values that are files. All other values are known to the user alone. */
const FILES = /^(?:file|path|--socket|--schemas|--[a-z-]+-file)$/;
const HELP: CompletedFlag = { name: '--help', description: 'display help for command', value: undefined };

/** What there is to complete in a command. */
function completedCommand(command: Command): CompletedCommand {
  const [argument] = command.registeredArguments;
  return {
    name: command.name(),
    description: command.description(),
    flags: [...command.options.filter(({ long }) => long).map(completedFlag), HELP],
    argument: argument && (argument.argChoices ? words(argument.argChoices) : { kind: 'file' }),
  };
}

function completedFlag(option: Option): CompletedFlag {
  const placeholder = /[<[]([^<>[\]]+)[>\]]/.exec(option.flags)?.[1];
  return {
    name: option.long ?? '',
    // The rest is for the help: values, default, environment.
    description: option.description.split(' (', 1)[0] ?? '',
    value: placeholder === undefined ? undefined : flagValue(placeholder, option),
  };
}

function flagValue(placeholder: string, { argChoices, description, long }: Option): Completable {
  if (argChoices !== undefined) return words(argChoices);
  // The broker's options have their choices in the description: they are checked by the schema.
  const choices = /\(([\w-]+(?:\|[\w-]+)+);/.exec(description)?.[1] ?? placeholder;
  if (choices.includes('|')) return words(choices.split('|'));
  return FILES.test(placeholder) || FILES.test(long ?? '') ? { kind: 'file' } : { kind: 'anything' };
}

function words(list: readonly string[]): Completable {
  return { kind: 'words', words: list };
}

// bash

/** Only there are words names of files, with a slash after those of folders: a folder may be named as a command is. */
const BASH_FILES = `compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"));`;

function bashScript(commands: readonly CompletedCommand[]): string {
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
  const ofFlags = bashWords(flags.map((flag) => flag.name));
  if (argument === undefined) return `    ${name}) ${ofFlags} ;;`;
  return `    ${name}) if [[ $cur == -* ]]; then ${ofFlags}; else ${bashReply(argument)} fi ;;`;
}

function bashReply(value: Completable): string {
  if (value.kind === 'words') return `${bashWords(value.words)};`;
  return value.kind === 'file' ? BASH_FILES : 'COMPREPLY=();';
}

function bashWords(words: readonly string[]): string {
  // IFS is a newline there.
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
  // A flag may be given again: the shell need not know which ones may not.
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
  const here = `complete -c sluice -n '__fish_seen_subcommand_from ${name}'`;
  return [
    `complete -c sluice -n __fish_use_subcommand -a ${name} -d ${fishQuoted(description)}`,
    ...flags.map((flag) => `${here} ${fishFlag(flag)}`),
    ...(argument === undefined ? [] : [`${here} ${fishValue(argument)}`]),
  ];
}

function fishFlag({ name, description, value }: CompletedFlag): string {
  const follows = value === undefined ? '' : ` -r ${fishValue(value)}`;
  return `-l ${name.slice(2)} -d ${fishQuoted(description)}${follows}`;
}

function fishValue(value: Completable): string {
  if (value.kind === 'words') return `-f -a ${fishQuoted(value.words.join(' '))}`;
  return value.kind === 'file' ? '-F' : '-f';
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** A shell that can complete. */
export type Shell = keyof typeof SCRIPTS;

/** The script for a shell. */
export function completionScript(shell: Shell, program: Command): string {
  return SCRIPTS[shell](program.commands.map(completedCommand));
}
