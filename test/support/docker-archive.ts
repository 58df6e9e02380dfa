// A docker-archive as `podman save` writes it, made of directories: one layer of each, from the bottom up.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { CFSCTL } from './cfsctl.js';
import { run } from './machine.js';
import type { TestImage } from './oci-record.js';

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Whiteouts are in the directories as files that are called .wh.NAME. */
export function makeDockerArchive(archive: string, layers: readonly string[], config: object = {}): void {
  const directory = mkdtempSync(join(dirname(archive), 'archive-'));
  const diffIds = layers.map((layer, index) => {
    const path = join(directory, `${index}.tar`);
    run('tar', '-C', layer, '--sort=name', '--numeric-owner', '-cf', path, '.');
    const diffId = sha256(readFileSync(path));
    renameSync(path, join(directory, `${diffId}.tar`));
    return diffId;
  });
  const text = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    created: '2025-06-01T12:00:00.5Z',
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'], Labels: { made: 'for a test' } },
    rootfs: { type: 'layers', diff_ids: diffIds.map((each) => `sha256:${each}`) },
    history: diffIds.map((_, index) => ({ created: '2025-06-01T12:00:00Z', created_by: `step ${index}` })),
    ...config,
  });
  const id = sha256(Buffer.from(text));
  writeFileSync(join(directory, `${id}.json`), text);
  const manifest = [{ Config: `${id}.json`, RepoTags: ['localhost/made:latest'], Layers: diffIds.map((each) => `${each}.tar`) }];
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
  run('tar', '-C', directory, '-cf', archive, '.');
  rmSync(directory, { recursive: true });
}

/** Imports directories as the layers of one image, under a name. */
export function importLayers(repository: string, layers: readonly string[], name: string, config: object = {}): TestImage {
  const directory = mkdtempSync(join(dirname(repository), 'import-'));
  const archive = join(directory, 'image.tar');
  makeDockerArchive(archive, layers, config);
  const said = run(CFSCTL, '--json', 'oci', 'import', '--repo', repository, archive, name);
  rmSync(directory, { recursive: true });
  return JSON.parse(said) as TestImage;
}
