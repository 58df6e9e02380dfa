import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { DEFAULT_STORE } from '../podman/store-layout.js';
import { wantsJson } from './globals.js';

const HELP = `
Shows what it would change; writes with --write alone, and keeps what was there
beside it. Changed are storage.conf of the user, where the store of images is named
(what else is there stays), and a drop-in of containers.conf for the volume plugin.
--undo takes out what was put in.

With --mount-program, podman mounts with cfs-overlay: images are attached when a
container starts, and --userns=keep-id needs no copy. It is for all images and
containers of the user, and only for who has none yet (podman system reset).

Examples:
  cfsctl setup podman
  cfsctl setup podman --write && cfsctl doctor
  cfsctl setup podman --undo --write`;

interface Options {
  readonly store: string;
  readonly mountProgram?: true;
  readonly write?: true;
  readonly undo?: true;
}

export function addSetupCommand(program: Command): void {
  const setup = program.command('setup').description('make other programs know of the service');
  setup
    .command('podman')
    .description("change a user's configuration of podman")
    .option('--write', 'do it')
    .addOption(new Option('--undo', 'take it back').conflicts('mountProgram'))
    .option('--mount-program', 'have podman mount with cfs-overlay')
    .option('--store <dir>', 'the additional image store', DEFAULT_STORE)
    .addHelpText('after', HELP)
    .action(async ({ store, mountProgram, write, undo }: Options, command: Command) => {
      const { runSetupPodman } = await import('../offline.js');
      const flags = { mountProgram: mountProgram === true, write: write === true, undo: undo === true };
      runSetupPodman({ store: resolve(store), ...flags, json: wantsJson(command) });
    });
}
