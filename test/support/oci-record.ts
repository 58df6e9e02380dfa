// What `cfsctl oci import` leaves beside an image, made by hand of a tree.
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { run } from './machine.js';
import { CFSCTL } from './cfsctl.js';

export interface TestImage {
  /** fs-verity digest of the composefs image. */
  readonly digest: string;
  /** 64 hex digits. */
  readonly id: string;
}

/** Imports a tree under a name, with an OCI configuration for it. */
export function importTree(repository: string, tree: string, name: string, config: object = {}): TestImage {
  const { digest } = JSON.parse(run(CFSCTL, '--json', 'import', '--repo', repository, tree, name)) as { digest: string };
  const diffIds = [digest, `sha256:${'2'.repeat(64)}`];
  const text = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    created: '2025-06-01T12:00:00.5Z',
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'], Labels: { made: 'by hand' } },
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: [{ created: '2025-06-01T12:00:00Z', created_by: 'ADD' }, { created_by: 'COPY' }],
    ...config,
  });
  const id = createHash('sha256').update(text).digest('hex');
  const record = join(repository, 'oci', id);
  mkdirSync(record, { recursive: true });
  writeFileSync(join(record, 'config.json'), text);
  writeFileSync(join(record, 'manifest.json'), '{}');
  writeFileSync(
    join(record, 'image.json'),
    JSON.stringify({
      version: 1,
      image: digest,
      layers: diffIds.map((diffId) => ({ diffId, size: 1024 })),
      platform: 'linux/amd64',
      imported: '2025-06-02T00:00:00Z',
    }),
  );
  const ref = join(repository, 'oci/refs', name);
  mkdirSync(dirname(ref), { recursive: true });
  rmSync(ref, { force: true });
  symlinkSync(`${'../'.repeat(name.split('/').length)}${id}`, ref);
  return { digest, id };
}
