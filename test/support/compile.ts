// C programs of the tests.
import { copyFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { run } from './machine.js';

/** Where they are already, under the same names: a machine may have no compiler. */
const COMPILED = process.env['CFSMOUNTD_TEST_PROGRAMS'];

/** Compiles a program, linked statically, so that it runs anywhere. */
export function compileProgram(source: string, program: string, ...flags: string[]): void {
  if (COMPILED !== undefined) copyFileSync(join(COMPILED, basename(program)), program);
  else run('gcc', '-static', '-O1', '-Wall', '-Werror', ...flags, '-o', program, source);
}
