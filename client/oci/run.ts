// The commands of cfsctl oci. They need no service.
import { realpathSync } from 'node:fs';
import { formatBytes, formatCount, formatFields, formatJson, print, printBytes } from '../output.js';
import { requireName } from '../repository/find-image.js';
import { type OpenOptions, type Repository, openRepository } from '../repository/repository.js';
import { type RepositoryOptions, followWithStore } from '../repository/run.js';
import { importOci } from './import-oci.js';
import { OCI_LIMITS } from './limits.js';
import { type OciRecord, isOciId, listOciNames, readOciRecord } from './records.js';
import { chooseImage } from './source/choose-image.js';
import { parsePlatform } from './source/platform.js';
import { openSource } from './source/open-source.js';

function open({ repo, timeoutMs }: RepositoryOptions, purpose: OpenOptions['purpose']): Repository {
  return openRepository({ path: repo, timeoutMs, lock: 'shared', purpose });
}

export interface OciImportOptions extends RepositoryOptions {
  readonly platform?: string;
  readonly image?: string;
  readonly skipDevices: boolean;
}

export async function runOciImport(path: string, name: string, options: OciImportOptions): Promise<void> {
  requireName(name);
  const platform = options.platform === undefined ? undefined : parsePlatform(options.platform);
  using source = openSource(path, OCI_LIMITS);
  // Before a repository is made for it.
  const image = chooseImage(source, { platform, image: options.image }, OCI_LIMITS);
  using repository = open(options, 'create');
  const { skipDevices } = options;
  const { record, written } = await importOci(repository, source, image, name, { skipDevices, limits: OCI_LIMITS });
  followWithStore(repository, options);
  const where = realpathSync(repository.path);
  const trust = `cfsctl policy trust ${record.image} --name ${ruleNameOf(name)}`;
  if (options.json) {
    const { id, image: digest, platform: made, layers } = record;
    const counts = { ...written, bytes: BigInt(written.bytes) };
    return print(formatJson({ id, digest, name, platform: made, layers, repository: where, written: counts, trust }));
  }
  print(
    `${formatFields([
      ['id', record.id],
      ['digest', record.image],
      ['name', name],
      ['platform', record.platform],
      ['layers', String(record.layers.length)],
      ['repository', where],
      ['written', `${formatCount(written.objects, 'object')}, ${formatBytes(written.bytes)}`],
    ])}\nTo trust it for everyone (--user and --group name some):\n\n${trust}\n`,
  );
}

/** A name of an image as policy trust takes it for a rule. */
function ruleNameOf(name: string): string {
  return (
    name
      .replaceAll('/', '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 64) || 'image'
  );
}

export function runOciInspect(nameOrId: string, options: RepositoryOptions): void {
  using repository = open(options, 'read');
  const record = find(repository, nameOrId);
  const names = listOciNames(repository)
    .filter(({ id }) => id === record.id)
    .map(({ name }) => name);
  const { id, image, platform, layers, imported } = record;
  if (options.json) return print(formatJson({ id, digest: image, names, platform, imported, layers }));
  print(
    formatFields([
      ['id', id],
      ['digest', image],
      ['names', names],
      ['platform', platform],
      ['imported', imported],
      ['layers', layers.map(({ diffId, size }) => `${diffId}  ${formatBytes(size)}`)],
    ]),
  );
}

/** Byte for byte, as it was in the source. */
export function runOciConfig(nameOrId: string, options: RepositoryOptions): void {
  using repository = open(options, 'read');
  printBytes(find(repository, nameOrId).config);
}

function find(repository: Repository, nameOrId: string): OciRecord {
  return readOciRecord(repository, isOciId(nameOrId) ? nameOrId : requireName(nameOrId));
}
