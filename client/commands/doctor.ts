import type { Command } from 'commander';
import { DEFAULT_STORE } from '../podman/store-layout.js';
import { connectOptionsOf, wantsJson } from './globals.js';

const HELP = `
Looks at the host, the service, podman's configuration, the store of images and the
volume plugin, and says what to mend. Changes nothing. For the user whose podman it
is; root is told of the host alone.

Exit status: 0 nothing fails (there may be warnings), 1 something does.

Examples:
  cfsctl doctor
  cfsctl --json doctor | jq -r '.[] | select(.status == "fail") | .mend'`;

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('say whether podman can run images of the service, and what to mend')
    .option('--store <dir>', 'the additional image store', DEFAULT_STORE)
    .addHelpText('after', HELP)
    .action(async ({ store }: { store: string }, command: Command) => {
      const { runDoctor } = await import('../offline.js');
      await runDoctor({ store, service: connectOptionsOf(command), json: wantsJson(command) });
    });
}
