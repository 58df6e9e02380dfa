// mutant-main DIRECTORY: builds the daemons that the guest's tests try without one of their defences; there is no bundler in the guest.
import { join, resolve } from 'node:path';

import { buildMutant, type Edit } from '../support/mutant.js';

/** What the path of a caller's store leads to is not compared with the store. */
const NO_STORE_CHECK: Edit = {
  source: 'daemon/worker/join.ts',
  find: 'if (!sameInode(statFd(found), statFd(layer)))',
  replace: 'if (found === undefined)',
};

await buildMutant(join(resolve(process.argv[2]!), 'no-store-check'), [NO_STORE_CHECK]);
