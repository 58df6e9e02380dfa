// After all the others of this boot.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { complaintsOfKernel } from '../kernel-log.js';

test('the kernel has not complained of anything', () => assert.deepEqual(complaintsOfKernel(), []));
