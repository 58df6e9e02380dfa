import type { Command } from 'commander';
import { isPath, readSignatureOf } from '../image.js';
import type { ImageOptions } from '../mount-client.js';

export interface ImageArgumentOptions {
  readonly digest?: string;
  readonly objects?: readonly string[];
  readonly name?: true;
  readonly nosuid?: true;
  readonly noexec?: true;
  readonly signature?: string;
}

export const IMAGE_HELP = `
IMAGE is
  a digest   sha256:… or sha512:…, the fs-verity digest of the EROFS image
  a path     if it contains /: the file is opened here and passed on
  a name     otherwise, in one of the service's repositories; with --name even
             if it contains /`;

/** The argument IMAGE and the options that go with it. */
export function addImageArgument(command: Command): Command {
  return command
    .argument('<IMAGE>', 'digest, name or path of the image')
    .option('--digest <digest>', 'refuse the image if it has another fs-verity digest')
    .option('--objects <dir>', 'object store of an image given by path; may be repeated', collect)
    .option('--signature <file>', 'signature of the image; IMAGE.p7s, if it is there, for an image given by path')
    .option('--name', 'IMAGE is a name, even if it contains /')
    .option('--nosuid', 'ignore setuid, setgid and file capabilities on the mount')
    .option('--noexec', 'run no programs from the mount');
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** What the service is told of the options; the signature is read. Throws `RequestError`. */
export function imageOptionsOf(image: string, byPath: boolean, options: ImageArgumentOptions): ImageOptions {
  return { ...options, signature: readSignatureOf(image, { byPath, signature: options.signature }) };
}

/** True if the image is a file to be passed. Usage error if the options do not go with that. */
export function requireConsistentImage(command: Command, image: string, { name, objects = [] }: ImageArgumentOptions): boolean {
  const byPath = name !== true && isPath(image);
  if (!byPath && objects.length > 0) command.error('--objects goes with an IMAGE given by path only');
  return byPath;
}
