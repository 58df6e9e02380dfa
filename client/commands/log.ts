import { type Command, InvalidArgumentError } from 'commander';
import { wantsJson } from './globals.js';

const HELP = `
Without FILE from the journal, which shows it to root and the group
systemd-journal. FILE is what the standard error of the service was sent to; - is
standard input.

Examples:
  cfsctl log --denied
  cfsctl --json log -n 1000 | jq '.[] | select(.uid == 1000)'`;

interface Options {
  readonly lines: number;
  readonly denied?: true;
}

export function addLogCommand(program: Command): void {
  program
    .command('log')
    .description('list the last decisions of the service')
    .argument('[FILE]', 'file with its log')
    .option('-n, --lines <number>', 'how many', parseCount, 20)
    .option('--denied', 'only what was refused, and trust taken back')
    .addHelpText('after', HELP)
    .action(async (file: string | undefined, { lines, denied }: Options, command: Command) => {
      const { runLog } = await import('../offline.js');
      runLog({ file, lines, denied: denied === true, json: wantsJson(command) });
    });
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number, 1 to 9999999.');
}
