import { Argument, type Command } from 'commander';
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

function flagsOf(command: Command): string[] {
  const flags = command.options.flatMap(({ long, short }) => [long, short].filter((flag) => typeof flag === 'string'));
  return [...flags, '--help'];
}

function choicesOf(command: Command): string[] {
  return command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
}

function wordsOf(program: Command): { name: string; words: string }[] {
  const global = flagsOf(program);
  return program.commands.map((command) => {
    const inner = command.commands.flatMap((one) => [one.name(), ...flagsOf(one)]);
    const words = new Set([...inner, ...choicesOf(command), ...flagsOf(command), ...global]);
    return { name: command.name(), words: [...words].join(' ') };
  });
}

function bash(program: Command): string {
  const names = program.commands.map((command) => command.name());
  return `# bash completion for cfsctl
_cfsctl() {
  local current=\${COMP_WORDS[COMP_CWORD]} command= words word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in ${names.join('|')}) command=$word; break ;; esac
  done
  case $command in
${wordsOf(program)
  .map(({ name, words }) => `    ${name}) words='${words}' ;;`)
  .join('\n')}
    *) words='${[...names, ...flagsOf(program)].join(' ')}' ;;
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
  const quote = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;
  const describe = (condition: string, command: Command): string[] =>
    command.options.map(({ long = '', description, required }) => {
      return `complete -c cfsctl -n ${quote(condition)} -l ${long.replace(/^--/, '')}${required ? ' -r' : ''} -d ${quote(description)}`;
    });
  const lines = program.commands.flatMap((command) => {
    const inside = `__fish_seen_subcommand_from ${command.name()}`;
    const choices = choicesOf(command);
    return [
      `complete -c cfsctl -n __fish_use_subcommand -f -a ${command.name()} -d ${quote(command.description())}`,
      ...(choices.length > 0 ? [`complete -c cfsctl -n ${quote(inside)} -f -a ${quote(choices.join(' '))}`] : []),
      ...describe(inside, command),
      ...command.commands.flatMap((inner) => [
        `complete -c cfsctl -n ${quote(inside)} -f -a ${inner.name()} -d ${quote(inner.description())}`,
        ...describe(`${inside}; and __fish_seen_subcommand_from ${inner.name()}`, inner),
      ]),
    ];
  });
  return `# fish completion for cfsctl\n${[...describe('true', program), ...lines].join('\n')}\n`;
}
