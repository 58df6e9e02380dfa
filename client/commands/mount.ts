import type { Command } from 'commander';
import { attachAt, openMountPoint } from '../attach.js';
import { openImageFile, openObjectStores } from '../image.js';
import type { MountClient, ReceivedMount } from '../mount-client.js';
import { formatJson, print } from '../output.js';
import { type WritableLayer, attachWritable, requireWritableLayer } from '../overlay.js';
import { requireMountableSurroundings } from '../user-namespace.js';
import { connectFor, wantsJson } from './globals.js';
import {
  IMAGE_HELP,
  type ImageArgumentOptions,
  addImageArgument,
  imageOptionsOf,
  requireConsistentImage,
} from './image-argument.js';

interface Options extends ImageArgumentOptions {
  readonly upperdir?: string;
  readonly workdir?: string;
}

const HELP = `${IMAGE_HELP}

Run it inside a user namespace. The mount is read-only or, with --upperdir and
--workdir, below a writable layer of your own. Silent on success, unless --json
asks for what was mounted.

Examples:
  podman unshare cfsctl mount base /mnt
  unshare -Urm sh -c 'cfsctl mount ./root.cfs --objects ./objects /mnt && ls /mnt'
  cfsctl mount --upperdir upper --workdir work sha256:37db4a12… /mnt`;

export function addMountCommand(program: Command): void {
  addImageArgument(program.command('mount'))
    .description('mount a trusted image')
    .argument('<MOUNTPOINT>', 'directory to mount it at')
    .option('--upperdir <dir>', 'make the mount writable: directory of your own that takes the changes')
    .option('--workdir <dir>', 'empty directory beside it, for the kernel')
    .addHelpText('after', HELP)
    .action((image: string, mountPoint: string, options: Options, command: Command) => {
      const byPath = requireConsistentImage(command, image, options);
      const layer = requireLayer(command, options);
      runMount(command, { image, byPath, mountPoint, layer, options });
    });
}

interface MountTask {
  readonly image: string;
  readonly byPath: boolean;
  readonly mountPoint: string;
  readonly layer: WritableLayer | undefined;
  readonly options: Options;
}

function runMount(command: Command, { image, byPath, mountPoint, layer, options }: MountTask): void {
  // All that can be known here is asked here first: the service spends no mount on what could not be attached.
  using directory = openMountPoint(mountPoint);
  if (layer !== undefined) requireWritableLayer(layer);
  requireMountableSurroundings();
  using client = connectFor(command);
  const { mount, result } = byPath
    ? mountPath(client, image, options)
    : client.mountImage(image, imageOptionsOf(image, false, options));
  using received = mount;
  if (layer === undefined) attachAt(received, directory, mountPoint);
  else attachWritable(received, layer, mountPoint);
  if (wantsJson(command)) print(formatJson(result));
}

function mountPath(client: MountClient, path: string, options: Options): ReceivedMount {
  using file = openImageFile(path);
  using stores = openObjectStores(options.objects ?? []);
  return client.mountFile(file, stores.fds, imageOptionsOf(path, true, options));
}

function requireLayer(command: Command, { upperdir, workdir }: Options): WritableLayer | undefined {
  if (upperdir === undefined && workdir === undefined) return undefined;
  if (upperdir === undefined || workdir === undefined) command.error('--upperdir and --workdir go together');
  return { upperdir, workdir };
}
