// Bundles the programs, the workers and what cfsctl loads on demand into dist/, and writes the JSON Schema of policy files beside them. koffi stays outside: it is native code, found in node_modules.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

import { build } from 'esbuild';

import { thirdPartyNotices } from './third-party.mjs';

// `loaded`: dist/NAME is a loader, which runs dist/code/NAME.cjs with V8's code cache. The worker is too small to gain by one.
const programs = [
  { in: 'daemon/main.ts', out: 'cfsmountd', loaded: true },
  { in: 'daemon/worker/worker.ts', out: 'cfsmountd-worker.cjs', loaded: false },
  { in: 'client/cfsctl.ts', out: 'cfsctl', loaded: true },
  { in: 'client/store/file-worker.ts', out: 'cfsctl-worker.cjs', loaded: false },
  { in: 'client/cfs-overlay.ts', out: 'cfs-overlay', loaded: true },
  { in: 'client/offline.ts', out: 'cfsctl-offline.cjs', loaded: true },
];

/** What is imported when it is needed stays outside the program, in the file that is made of it above. */
const onDemand = {
  name: 'on-demand',
  setup(build) {
    build.onResolve({ filter: /\/offline\.js$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: './cfsctl-offline.cjs', external: true } : undefined,
    );
  },
};

const inputs = [];

async function bundle(entry) {
  const { outputFiles, metafile } = await build({
    entryPoints: [entry],
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node20.18',
    format: 'cjs',
    external: ['koffi'],
    plugins: [onDemand],
    charset: 'ascii',
    // What is not compiled by Node's own loader has no import().
    supported: { 'dynamic-import': false },
    legalComments: 'none', // thirdPartyNotices has them all
    metafile: true,
    logLevel: 'warning',
  });
  inputs.push(...Object.keys(metafile.inputs));
  return outputFiles[0].text;
}

const loader = readFileSync('tools/loader.cjs', 'utf8');

function writeLoaded(out, text) {
  const name = basename(out, '.cjs');
  const code = text.replace(/^#!.*\n/, '');
  const build = createHash('sha256').update(code).digest('hex').slice(0, 16);
  writeFileSync(`dist/code/${name}.cjs`, code);
  const isProgram = out === name;
  const start = isProgram ? loader : loader.replace(/^#!.*\n/, '');
  writeFileSync(`dist/${out}`, start.replaceAll('@PROGRAM@', name).replaceAll('@BUILD@', build));
  if (isProgram) chmodSync(`dist/${out}`, 0o755);
}

rmSync('dist/code', { recursive: true, force: true });
mkdirSync('dist/code', { recursive: true });
// The programs have no ending, so this says that they are CommonJS.
writeFileSync('dist/package.json', '{ "type": "commonjs" }\n');
for (const { in: entry, out, loaded } of programs) {
  const text = await bundle(entry);
  if (loaded) writeLoaded(out, text);
  else writeFileSync(`dist/${out}`, text);
}
writeFileSync('dist/third-party.txt', thirdPartyNotices(inputs));
const { policyJsonSchema } = await import('../build/policy/json-schema.js');
writeFileSync('dist/policy.schema.json', `${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
copyFileSync('tools/write-code-cache.cjs', 'dist/write-code-cache.cjs');
const { status } = spawnSync(process.execPath, ['dist/write-code-cache.cjs'], { stdio: 'inherit' });
if (status !== 0) throw new Error('the code cache could not be written');
