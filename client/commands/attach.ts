import type { Command } from 'commander';
import { formatJson, print, printError } from '../output.js';
import { type AttachOptions, type AttachedImage, attachImages, detachImages } from '../podman/attach-images.js';
import { DEFAULT_STORE } from '../podman/store-layout.js';
import { requirePodmanNamespace } from '../user-namespace.js';
import { type GlobalOptions, connectFor, wantsJson } from './globals.js';

const IMAGE = `
IMAGE is a name or an id as podman images shows it, or the fs-verity digest.`;

const ATTACH = `${IMAGE}

Run it inside podman unshare: podman's containers see what is mounted there, until
podman system migrate ends that namespace. What is attached stays as it is. Silent
on success; with --all images that the service refuses, or whose layer is damaged,
are named and left out.

Exit status: 0 attached, with --all also where images were left out, be it all of them;
1 an image that was named could not be attached, or the service cannot be reached.

Examples:
  podman unshare cfsctl attach --all
  podman unshare cfsctl attach base && podman run base`;

const DETACH = `${IMAGE}

Containers that run go on. Silent on success.

Example:
  podman unshare cfsctl detach --all`;

interface Options {
  readonly store: string;
  readonly all?: true;
}

export function addAttachCommands(program: Command): void {
  addStoreCommand(program, 'attach', 'mount images of a store where podman looks for them', ATTACH, (images, command) => {
    const options = attachOptionsOf(command, images);
    requirePodmanNamespace('attach');
    using client = connectFor(command);
    const found = attachImages(client, options);
    if (wantsJson(command)) return print(formatJson(found));
    for (const each of found) if (each.because !== '') printError(formatLeftOut(each));
  });
  addStoreCommand(program, 'detach', 'unmount what cfsctl attach has mounted', DETACH, (images, command) => {
    const options = attachOptionsOf(command, images);
    requirePodmanNamespace('detach');
    const detached = detachImages(options);
    if (wantsJson(command)) print(formatJson(detached));
  });
}

function formatLeftOut({ images, because }: AttachedImage): string {
  return `cfsctl: left out ${images[0] ?? ''}: ${because}\n`;
}

function addStoreCommand(
  program: Command,
  name: string,
  description: string,
  help: string,
  run: (images: readonly string[], command: Command) => void,
): void {
  program
    .command(name)
    .description(description)
    .argument('[IMAGE...]', 'images of the store')
    .option('--all', 'all images of the store')
    .option('--store <dir>', 'the store', DEFAULT_STORE)
    .addHelpText('after', help)
    .action((images: readonly string[], _options: unknown, command: Command) => run(images, command));
}

function attachOptionsOf(command: Command, images: readonly string[]): AttachOptions {
  const { store, all, timeout } = command.optsWithGlobals<GlobalOptions & Options>();
  if ((all === true) === images.length > 0) command.error('name images, or all of them with --all');
  return { store, wanted: all === true ? undefined : images, timeoutMs: timeout * 1000 };
}
