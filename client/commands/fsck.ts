import type { Command } from 'commander';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const HELP = `
Reads every object and computes its digest, reads every image and looks for its
objects, follows every name. Changes nothing.

Exit status: 0 all is well, 1 not.

Examples:
  cfsctl fsck
  cfsctl --json fsck --repo ./repo | jq '.problems[]'`;

export function addFsckCommand(program: Command): void {
  addRepositoryOption(program.command('fsck'))
    .description('check everything in a repository')
    .addHelpText('after', HELP)
    .action(async (_options: unknown, command: Command) => {
      const { runFsck } = await import('../offline.js');
      runFsck(repositoryOptionsOf(command));
    });
}
