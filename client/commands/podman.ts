import type { Command } from 'commander';
import { DEFAULT_STORE } from '../podman/store-layout.js';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const EXPORT = `
Each OCI image that has a name in the repository (cfsctl oci import) becomes an
image of the store, with one layer: where its validated mount gets attached. No
file is copied; of each image all files are read once, so that podman save gives
it back. Images that are gone from the repository go from the store, too. What is
missing or damaged of a layer is written anew. cfsctl oci import, tag, rm and gc keep
the store up to date that was exported last, and no other.

Users name the store in storage.conf, below [storage.options]:
  additionalimagestores = ["${DEFAULT_STORE}"]
and run podman unshare cfsctl attach --all, or have cfs-overlay do that. Whoever
may read the store sees the names, the configurations and the file names of all
its images; to limit that, make its directory and change group and mode.

Exit status: 0 done, 1 refused, failed, or an image was left out.

Examples:
  sudo cfsctl podman export-store
  cfsctl podman export-store --repo ./repo ./store`;

export function addPodmanCommand(program: Command): void {
  const podman = program.command('podman').description('images of the repository for podman');
  addRepositoryOption(podman.command('export-store'))
    .description('write the additional image store that podman reads')
    .argument('[DIR]', 'the store', DEFAULT_STORE)
    .addHelpText('after', EXPORT)
    .action(async (store: string, _options: unknown, command: Command) => {
      const { runExportStore } = await import('../offline.js');
      runExportStore(store, repositoryOptionsOf(command));
    });
}
