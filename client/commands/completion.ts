import { Argument, type Command, type Option } from 'commander';
import { print } from '../output.js';

const HELP = `
Examples:
  cfsctl completion bash > /etc/bash_completion.d/cfsctl
  cfsctl completion zsh > ~/.zfunc/_cfsctl
  cfsctl completion fish > ~/.config/fish/completions/cfsctl.fish`;

export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script for tab completion')
    .addArgument(new Argument('<shell>', 'the shell it is for').choices(['bash', 'zsh', 'fish']))
    .addHelpText('after', HELP)
    .action((shell: 'bash' | 'zsh' | 'fish') => print(WRITERS[shell](program)));
}

const WRITERS: Readonly<Record<'bash' | 'zsh' | 'fish', (program: Command) => string>> = { bash, zsh, fish };

interface Place {
  /** The words that lead there: `oci import`; none for cfsctl itself. */
  readonly path: string;
  readonly command: Command;
  /** Subcommands, choices of arguments, flags. */
  readonly words: readonly string[];
}

function placesOf(command: Command, path: string, global: readonly string[]): Place[] {
  const names = command.commands.map((one) => one.name());
  const choices = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
  const words = [...new Set([...names, ...choices, ...flagsOf(command), ...global])];
  const inside = command.commands.flatMap((one) => placesOf(one, `${path} ${one.name()}`.trimStart(), global));
  return [{ path, command, words }, ...inside];
}

function flagsOf({ options }: Command): string[] {
  const flags = options.flatMap(({ long, short }) => [long, short].filter((flag) => typeof flag === 'string'));
  return [...flags, '--help', '-h'];
}

/** Options after which a value comes, with the values there are to choose from. */
function valuedOptions(places: readonly Place[]): Map<string, readonly string[]> {
  const options = places.flatMap(({ command }) => command.options).filter(({ required, optional }) => required || optional);
  return new Map(
    options.flatMap(({ long, short, argChoices }) =>
      [long, short].filter((flag) => typeof flag === 'string').map((flag) => [flag, argChoices ?? []] as const),
    ),
  );
}

function bash(program: Command): string {
  const places = placesOf(program, '', flagsOf(program));
  const valued = valuedOptions(places);
  const cases = [...valued].filter(([, choices]) => choices.length > 0);
  return `# bash completion for cfsctl
_cfsctl() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous= path= words= word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $previous in ${[...valued.keys()].join('|')}) previous=; continue ;; esac
    previous=$word
    case "$path $word" in
      ${places.flatMap(({ path }) => (path === '' ? [] : [`'${path.includes(' ') ? path : ` ${path}`}'`])).join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case $previous in
${cases.map(([flag, choices]) => `    ${flag}) COMPREPLY=($(compgen -W '${choices.join(' ')}' -- "$current")); return ;;`).join('\n')}
    ${[...valued.keys()].join('|')}) COMPREPLY=(); return ;;
  esac
  case $path in
${places.map(({ path, words }) => `    '${path}') words='${words.join(' ')}' ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _cfsctl cfsctl
`;
}

function zsh(program: Command): string {
  return `#compdef cfsctl
autoload -U +X bashcompinit && bashcompinit
${bash(program)}`;
}

function fish(program: Command): string {
  const places = placesOf(program, '', []);
  const lines = places.flatMap(({ path, command }) => {
    const seen = path.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`);
    const inside = path === '' ? 'true' : seen.join('; and ');
    const notYet = command.commands.map((one) => one.name()).join(' ');
    const here = path === '' ? '__fish_use_subcommand' : `${inside}; and not __fish_seen_subcommand_from ${notYet}`;
    const choices = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
    return [
      ...command.commands.map((one) => `complete -c cfsctl -n ${quote(here)} -f -a ${one.name()} -d ${quote(one.description())}`),
      ...(choices.length > 0 ? [`complete -c cfsctl -n ${quote(inside)} -f -a ${quote(choices.join(' '))}`] : []),
      ...command.options.map((option) => `complete -c cfsctl -n ${quote(inside)} ${fishOption(option)}`),
    ];
  });
  return `# fish completion for cfsctl\ncomplete -c cfsctl -s h -l help -d 'display help for command'\n${lines.join('\n')}\n`;
}

function fishOption({ long, short, required, description, argChoices }: Option): string {
  const names = [
    ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
    ...(long === undefined ? [] : [`-l ${long.slice(2)}`]),
  ];
  const value = argChoices === undefined ? (required ? ' -r' : '') : ` -x -a ${quote(argChoices.join(' '))}`;
  return `${names.join(' ')}${value} -d ${quote(description)}`;
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
