import type { Command } from 'commander';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const HELP = `
Images and objects stay until cfsctl gc. Silent on success.

Example:
  cfsctl rm team/base team/old && cfsctl gc`;

export function addRmCommand(program: Command): void {
  addRepositoryOption(program.command('rm'))
    .description('take names away from images of a repository')
    .argument('<NAME...>', 'names to remove')
    .addHelpText('after', HELP)
    .action(async (names: readonly string[], _options: unknown, command: Command) => {
      const { runRm } = await import('../offline.js');
      runRm(names, repositoryOptionsOf(command));
    });
}
