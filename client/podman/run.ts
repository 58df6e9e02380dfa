// cfsctl podman export-store.
import { escapeText, formatJson, printError, printPieces } from '../output.js';
import { openRepository } from '../repository/repository.js';
import type { RepositoryOptions } from '../repository/run.js';
import { exportStore } from './export-store.js';

export function runExportStore(store: string, { repo, timeoutMs, json }: RepositoryOptions): void {
  using repository = openRepository({ path: repo, timeoutMs, lock: 'shared', purpose: 'read' });
  const onLayer = (name: string): void => void (json || printError(`reading ${name}\n`));
  const { images, leftOut, forgotten = null } = exportStore(repository, { store, timeoutMs, onLayer });
  if (leftOut.length > 0) process.exitCode = 1;
  const listed = images.map(({ id, names, layer }) => ({ id, names, image: layer.image, layer: `sha256:${layer.diffId}` }));
  if (json) return printPieces([formatJson({ store, images: listed, leftOut, forgotten })]);
  if (forgotten !== null)
    printError(escapeText(`cfsctl: ${forgotten} is not kept up to date any more: from now on ${store} is`) + '\n');
  printPieces([
    ...listed.map(({ id, names, image }) => `${names.length > 0 ? names.join(' ') : id}  ${image}\n`),
    ...leftOut.map(({ name, because }) => `left out ${name}: ${because}\n`),
  ]);
}
