// The commands that work in a repository. They need no service; gc asks it if there is one.
import { realpathSync } from 'node:fs';
import { RequestError } from '../../core/wire/errors.js';
import { idOfName, removeOciRef, setOciRef } from '../oci/names.js';
import { onlyIdOf } from '../oci/records.js';
import { formatBytes, formatCount, formatFields, formatJson, print, printError, printPieces } from '../output.js';
import { updateStore } from '../podman/update-store.js';
import { findImage, requireName } from './find-image.js';
import { inspectRepository } from './fsck.js';
import { collectGarbage } from './gc.js';
import { importImage, requireSource } from './import-image.js';
import { listOverlayMounts } from './live-mounts.js';
import { removeRef, setRef } from './links.js';
import type { ServiceMount } from './mounted.js';
import { readKeptImage } from './needs.js';
import { formatPolicy } from './policy-text.js';
import { type OpenOptions, type Repository, atRepository, openRepository } from './repository.js';

/** As on the command line. */
export interface RepositoryOptions {
  readonly repo: string;
  readonly timeoutMs: number;
  readonly json: boolean;
}

function open({ repo, timeoutMs }: RepositoryOptions, how: Pick<OpenOptions, 'lock' | 'purpose'>): Repository {
  return openRepository({ path: repo, timeoutMs, ...how });
}

export interface ImportOptions extends RepositoryOptions {
  readonly objects?: string;
}

export async function runImport(path: string, name: string, options: ImportOptions): Promise<void> {
  requireName(name);
  const source = { path, objects: options.objects };
  requireSource(source);
  using repository = open(options, { lock: 'shared', purpose: 'create' });
  const { digest, written } = await importImage(repository, source, name);
  // The name may have been that of an OCI image.
  followWithStore(repository, options);
  const where = realpathSync(repository.path);
  const policy = formatPolicy({ digest, name, repository: where, rootOnly: process.geteuid?.() === 0 });
  if (options.json) {
    print(formatJson({ digest, name, repository: where, written: { ...written, bytes: BigInt(written.bytes) }, policy }));
  } else {
    const lines = formatFields([
      ['digest', digest],
      ['name', name],
      ['repository', where],
      ['written', `${formatCount(written.objects, 'object')}, ${formatBytes(written.bytes)}`],
    ]);
    print(`${lines}\nTo trust it, put this into a file in /etc/cfsmountd/policy.d and run cfsctl reload:\n\n${policy}`);
  }
}

export function runTag(image: string, name: string, options: RepositoryOptions): void {
  requireName(name);
  using repository = open(options, { lock: 'shared', purpose: 'write' });
  const { root, path } = repository;
  atRepository(path, () => {
    const digest = findImage(repository, image);
    // The configuration of a container image goes with it, if it is clear which.
    const id = image.includes(':') ? onlyIdOf(root, digest) : idOfName(root, image);
    setRef(root, name, digest);
    if (id === undefined) removeOciRef(root, name);
    else setOciRef(root, name, id);
  });
  followWithStore(repository, options);
}

/** After what may have changed which OCI images there are. */
export function followWithStore(repository: Repository, { timeoutMs }: RepositoryOptions): void {
  for (const { name, because } of updateStore(repository, timeoutMs))
    printError(`cfsctl: the store for podman has no image ${name}: ${because}\n`);
}

export function runRm(names: readonly string[], options: RepositoryOptions): void {
  names.forEach(requireName);
  using repository = open(options, { lock: 'shared', purpose: 'write' });
  const remove = (name: string): boolean => {
    const wasOci = removeOciRef(repository.root, name);
    return removeRef(repository.root, name) || wasOci;
  };
  const missing = [...new Set(names)].filter((name) => !atRepository(repository.path, () => remove(name)));
  followWithStore(repository, options);
  if (missing.length === 0) return;
  throw new RequestError('NoSuchImage', `the repository ${repository.path} has no name ${missing.join(', ')}`, {
    hint: names.length > missing.length ? 'the other names are removed' : undefined,
  });
}

export interface GcCommandOptions extends RepositoryOptions {
  readonly dryRun: boolean;
  readonly keep: readonly string[];
  readonly force: boolean;
  readonly listServiceMounts: () => readonly ServiceMount[];
}

export function runGc({ keep, ...options }: GcCommandOptions): void {
  const kept = keep.map(readKeptImage);
  using repository = open(options, { lock: 'exclusive', purpose: 'write' });
  const { images, ociImages, objects, bytes, mounted } = collectGarbage(repository, {
    ...options,
    listKernelMounts: listOverlayMounts,
    keep: kept,
  });
  const { dryRun } = options;
  if (!dryRun) followWithStore(repository, options);
  if (options.json) return print(formatJson({ dryRun, images, ociImages, objects, bytes: BigInt(bytes), mounted }));
  printPieces([
    ...ociImages.map((id) => `${dryRun ? 'would forget' : 'forgot'} the OCI image ${id}\n`),
    ...images.map((digest) => `${dryRun ? 'would forget' : 'forgot'} ${digest}\n`),
    ...mounted.map((digest) => `kept ${digest}: it has no name, but is mounted\n`),
    `${dryRun ? 'would remove' : 'removed'} ${formatCount(objects, 'object')}, ${formatBytes(bytes)}\n`,
  ]);
}

export function runFsck(options: RepositoryOptions): void {
  using repository = open(options, { lock: 'shared', purpose: 'read' });
  const { objects, images, refs, ociImages, problems } = inspectRepository(repository);
  if (options.json) print(formatJson({ ok: problems.length === 0, objects, images, names: refs, ociImages, problems }));
  else
    printPieces([
      ...problems.map(({ where, because }) => `${where} ${because}\n`),
      `${formatCount(objects, 'object')}, ${formatCount(images, 'image')}, ${formatCount(refs, 'name')}${ociImages === 0 ? '' : `, ${formatCount(ociImages, 'OCI image')}`}: ${problems.length === 0 ? 'all is well' : formatCount(problems.length, 'problem')}\n`,
    ]);
  if (problems.length > 0) process.exitCode = 1;
}
