// confine-main DIRECTORY: makes the confined programs there, for `make confined`.
import { resolve } from 'node:path';

import { confinePrograms } from './confine.js';

confinePrograms(resolve(process.argv[2]!));
