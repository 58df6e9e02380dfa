import type { Command } from 'commander';
import { connectFor } from './globals.js';

const HELP = `
If the policy is broken the old one stays in force, and the error says what to mend. Silent on success.

Example:
  sudo cfsctl reload`;

export function addReloadCommand(program: Command): void {
  program
    .command('reload')
    .description('have the service read its policy again (root)')
    .addHelpText('after', HELP)
    .action((_options: unknown, command: Command) => {
      using client = connectFor(command);
      client.reload();
    });
}
