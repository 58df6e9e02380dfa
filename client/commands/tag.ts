import type { Command } from 'commander';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const HELP = `
An image can have many names. One that had the name loses it. Silent on success.

Examples:
  cfsctl tag team/base team/old
  cfsctl tag --repo ./repo sha256:37db4a12… base`;

export function addTagCommand(program: Command): void {
  addRepositoryOption(program.command('tag'))
    .description('give an image of a repository a name')
    .argument('<IMAGE>', 'digest or name of the image')
    .argument('<NAME>', 'name to give it')
    .addHelpText('after', HELP)
    .action(async (image: string, name: string, _options: unknown, command: Command) => {
      const { runTag } = await import('../offline.js');
      runTag(image, name, repositoryOptionsOf(command));
    });
}
