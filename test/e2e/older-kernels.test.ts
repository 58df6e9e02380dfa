// The ways in which older kernels take the layers of an overlay, on this one: the daemon is made to find no newer way.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { buildMutant, runTestsAgainst, type Edit } from '../support/mutant.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
after(() => scratch.remove());

const noDetachedLayers: Edit = {
  source: 'daemon/features.ts',
  find: "await probe('overlay-detached-layers', () => joinWithCopies('descriptors', false));",
  replace: '',
};

const ways = (list: string): Edit => ({
  source: 'daemon/overlay.ts',
  find: "PATH_WAYS = ['paths', 'list', 'plain-list'] as const",
  replace: `PATH_WAYS = ${list} as const`,
});

const MOUNTING = ['e2e/sample-tree', 'e2e/mount'];
const CASES = [
  {
    kernel: '6.7 to 6.14',
    edits: [],
    files: [...MOUNTING, 'attacks/01-flags-cleared', 'attacks/02-temporary-mounts', 'attacks/21-error-path-leak'],
  },
  { kernel: '6.5 and 6.6', edits: [ways("['list']")], files: MOUNTING },
  { kernel: '5.19 to 6.4', edits: [ways("['plain-list']")], files: MOUNTING },
];

for (const [index, { kernel, edits, files }] of CASES.entries()) {
  test(`as on Linux ${kernel}: the same tests pass`, async () => {
    const programs = join(scratch.path, String(index));
    await buildMutant(programs, [noDetachedLayers, ...edits]);
    const { status, output } = await runTestsAgainst(programs, files);
    assert.equal(status, 0, output);
    assert.match(output, /^# pass [1-9]/m);
  });
}
