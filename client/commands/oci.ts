import type { Command } from 'commander';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const IMPORT = `
SOURCE is what podman save, docker save or skopeo copy makes
  a docker-archive      tar archive with manifest.json
  an OCI archive        tar archive of an OCI layout
  an OCI layout         directory with index.json
with layers that are not packed, or with gzip or zstd. The layers become one image,
in which is what a container would see: its files become objects, those of which
nothing is seen are not stored. Owners, permissions, times and hard links are kept,
and of extended attributes user.* and security.capability. Every digest that the
source speaks of is checked; archives that are damaged or could be read in two ways
are refused. A repository is made if there is none.

NAME is parts of A-Z a-z 0-9 _ . - joined by /. An image that had the name loses
it. Whatever ends the command, the repository is as good as it was: run it again.

Device nodes are refused by the service unless a rule allows them.

Examples:
  podman save -o base.tar registry.example/base
  sudo cfsctl oci import base.tar base
  skopeo copy docker://registry.example/base oci:base && cfsctl oci import ./base base
  cfsctl oci import --repo ./repo --platform linux/arm64 ./base base-arm`;

const INSPECT = `
IMAGE is a name, or the image's id: the SHA-256 of its configuration, by which other
programs know it. The digest is what a policy trusts. Layers are listed from the
bottom up, with their size unpacked.

Examples:
  cfsctl oci inspect base
  cfsctl --json oci inspect base | jq -r .digest`;

const CONFIG = `
Byte for byte as it was in the source: environment, command, user, labels.

Example:
  cfsctl oci config base | jq .config.Env`;

export function addOciCommand(program: Command): void {
  const oci = program.command('oci').description('import container images, and show what is kept of them');
  addImport(oci);
  addShow(oci, 'inspect', 'show what a repository keeps of a container image', INSPECT);
  addShow(oci, 'config', 'print the configuration of a container image', CONFIG);
}

interface ImportOptions {
  readonly platform?: string;
  readonly image?: string;
  readonly skipDevices?: true;
}

function addImport(oci: Command): void {
  addRepositoryOption(oci.command('import'))
    .description('put a container image into a repository, under a name')
    .argument('<SOURCE>', 'docker-archive, OCI archive or OCI layout')
    .argument('<NAME>', 'name to give it')
    .option('--platform <platform>', 'which image of several: for this one, as linux/arm64 (default: that of this machine)')
    .option('--image <name>', 'which image of several: with this tag, name or digest')
    .option('--skip-devices', 'leave out device nodes')
    .addHelpText('after', IMPORT)
    .action(async (source: string, name: string, { skipDevices, ...options }: ImportOptions, command: Command) => {
      const { runOciImport } = await import('../offline.js');
      await runOciImport(source, name, { ...repositoryOptionsOf(command), ...options, skipDevices: skipDevices === true });
    });
}

function addShow(oci: Command, name: 'inspect' | 'config', description: string, help: string): void {
  addRepositoryOption(oci.command(name))
    .description(description)
    .argument('<IMAGE>', 'name or id of the image')
    .addHelpText('after', help)
    .action(async (image: string, _options: unknown, command: Command) => {
      const { runOciInspect, runOciConfig } = await import('../offline.js');
      (name === 'inspect' ? runOciInspect : runOciConfig)(image, repositoryOptionsOf(command));
    });
}
