import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findOciId } from './find-oci-id.js';

const repository = mkdtempSync(join(tmpdir(), 'cfsctl-oci-id-'));
after(() => rmSync(repository, { recursive: true }));
const id = 'ab'.repeat(32);

test('the id of a container image is the end of the link that its name is; of other names there is none', () => {
  mkdirSync(join(repository, 'oci/refs/team'), { recursive: true });
  symlinkSync(`../../${id}`, join(repository, 'oci/refs/team/base'));
  symlinkSync(`/etc/${id}`, join(repository, 'oci/refs/out'));
  symlinkSync('../short', join(repository, 'oci/refs/short'));
  writeFileSync(join(repository, 'oci/refs/file'), id);
  const found = ['team/base', 'out', 'short', 'file', 'none', 'team'].map((name) => findOciId({ name, repository }));
  assert.deepEqual(found, [id, undefined, undefined, undefined, undefined, undefined]);
});
