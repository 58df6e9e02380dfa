// Bundles the two programs, the workers and what cfsctl loads on demand into dist/. koffi stays outside: it is native code, found in node_modules.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';

import { build } from 'esbuild';

const programs = [
  { in: 'daemon/main.ts', out: 'dist/cfsmountd', executable: true },
  { in: 'daemon/worker/worker.ts', out: 'dist/cfsmountd-worker.cjs', executable: false },
  { in: 'client/cfsctl.ts', out: 'dist/cfsctl', executable: true },
  { in: 'client/store/file-worker.ts', out: 'dist/cfsctl-worker.cjs', executable: false },
  { in: 'client/offline.ts', out: 'dist/cfsctl-offline.cjs', executable: false },
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

mkdirSync('dist', { recursive: true });
// The programs have no ending, so this says that they are CommonJS.
writeFileSync('dist/package.json', '{ "type": "commonjs" }\n');
for (const program of programs) {
  await build({
    entryPoints: [program.in],
    outfile: program.out,
    bundle: true,
    platform: 'node',
    target: 'node20.18',
    format: 'cjs',
    external: ['koffi'],
    plugins: [onDemand],
    legalComments: 'none',
    logLevel: 'warning',
  });
  if (program.executable) chmodSync(program.out, 0o755);
}
