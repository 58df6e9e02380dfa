// The repository that cfsctl makes where it is told of none: the service's, which decides who may read what is in there.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { CFSCTL } from '../support/cfsctl.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
after(() => scratch.remove());

test('it is closed to users from the start; what leads to it is not', () => {
  writeFileSync(join(scratch.path, 'file'), 'a file of its own object '.repeat(10));
  const script = `mount -t tmpfs none /var/lib && '${CFSCTL}' import '${scratch.path}' base >/dev/null &&
    stat -c %a /var/lib/cfsmountd /var/lib/cfsmountd/repo /var/lib/cfsmountd/repo/objects`;
  assert.equal(run('unshare', '--mount', '--propagation', 'private', 'sh', '-c', script), '755\n700\n755\n');
});
