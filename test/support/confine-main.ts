// confine-main DIRECTORY: makes the confined programs there, for `make confined`.
import { confinePrograms } from './confine.js';

confinePrograms(process.argv[2]!);
