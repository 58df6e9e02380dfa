// A daemon without one of its defences, to show that the test which needs the defence fails then.
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { build, type Plugin } from 'esbuild';

import { DIST, ROOT, run } from './machine.js';

/** One change of a source file; `find` must stand there exactly once. */
export interface Edit {
  /** Relative to the root of the checkout. */
  readonly source: string;
  readonly find: string;
  readonly replace: string;
}

/** A defence, and the test that fails when it is taken out. */
export interface Defence {
  /** Row of the table of threats. */
  readonly row: number;
  /** Name of the test file in test/attacks, without its ending: '07-reading-as-root'. */
  readonly file: string;
  /** Names the tests that must fail, for --test-name-pattern; without it, any test of the file. */
  readonly pattern?: string;
  /** What the defence is, in words. */
  readonly defence: string;
  /** What takes it out: several changes where one check stands behind another. */
  readonly edits: readonly Edit[];
}

function applyEdits(source: string, edits: readonly Edit[]): string {
  let text = readFileSync(join(ROOT, source), 'utf8');
  for (const { find, replace } of edits) {
    const count = text.split(find).length - 1;
    if (count !== 1) throw new Error(`${source} has this text ${count} times, not once; mend the entry: ${find}`);
    text = text.replace(find, () => replace);
  }
  return text;
}

/** Applies the edits while esbuild reads the sources, and counts which of them it has read. */
function editSources(texts: ReadonlyMap<string, string>, read: Set<string>): Plugin {
  return {
    name: 'edit-sources',
    setup(builder) {
      builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const contents = texts.get(path);
        if (contents === undefined) return undefined;
        read.add(path);
        return { contents, loader: 'ts' };
      });
    },
  };
}

async function bundle(entry: string, outfile: string, plugin: Plugin): Promise<void> {
  await build({
    entryPoints: [join(ROOT, entry)],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20.18',
    format: 'cjs',
    external: ['koffi'],
    plugins: [plugin],
    logLevel: 'error',
  });
}

/** Builds the programs with the edits into a directory. Throws when an edit does not fit, or changes nothing that is built. */
export async function buildMutant(directory: string, edits: readonly Edit[]): Promise<void> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{ "type": "commonjs" }\n');
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  symlinkSync(join(DIST, 'cfsctl'), join(directory, 'cfsctl')); // it looks for its code where it really is
  cpSync(join(DIST, 'cfsmountd-park'), join(directory, 'cfsmountd-park'));
  const sources = [...new Set(edits.map(({ source }) => source))];
  const edited = sources.map((source): [string, string] => [
    join(ROOT, source),
    applyEdits(
      source,
      edits.filter((edit) => edit.source === source),
    ),
  ]);
  const read = new Set<string>();
  const plugin = editSources(new Map(edited), read);
  await bundle('daemon/main.ts', join(directory, 'cfsmountd'), plugin);
  await bundle('daemon/worker/worker.ts', join(directory, 'cfsmountd-worker.cjs'), plugin);
  chmodSync(join(directory, 'cfsmountd'), 0o755);
  for (const [path, text] of edited) {
    if (basename(path) === 'park.c') {
      const changed = join(directory, 'park.c');
      writeFileSync(changed, text);
      run('gcc', '-static', '-Os', '-o', join(directory, 'cfsmountd-park'), changed);
    } else if (!read.has(path)) throw new Error(`${path} is part of no program`);
  }
}

export interface TestRun {
  readonly status: number | null;
  readonly output: string;
}

/** Runs tests against the programs in a directory; `files` are relative to test/, without their ending. */
export async function runTestsAgainst(directory: string, files: readonly string[], pattern?: string): Promise<TestRun> {
  const { NODE_TEST_CONTEXT: _ours, ...env } = process.env; // with it, a test run inside a test runs nothing
  const only = pattern === undefined ? [] : [`--test-name-pattern=${pattern}`];
  const paths = files.map((file) => join(ROOT, 'build/test', `${file}.test.js`));
  const child = spawn(process.execPath, ['--test', '--test-concurrency=1', '--test-reporter=tap', ...only, ...paths], {
    env: { ...env, CFSMOUNTD_DIST: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, output };
}
