// The daemon under the restrictions of cfsmountd.service: they leave it able to work, and no capability is there for nothing.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { parseDump } from '../../core/image/dump-parser.js';
import { writeImage } from '../../core/image/writer.js';
import { type Actor, startActor } from '../support/actor.js';
import { CAPABILITIES, confinePrograms } from '../support/confine.js';
import { readStatus } from '../support/daemon.js';
import { digestOfFile, policyText } from '../support/images.js';
import { ROOT } from '../support/machine.js';
import { startInBackground } from '../support/process.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.cfs');
const repository = join(scratch.path, 'repository');
const mountPoint = join(scratch.path, 'mnt');
const OWNER = 5; // in the image, and in the namespace
const PROGRAM = '#!/bin/sh\\necho\\x20ran\\n';
/** Readable and executable for their owner alone: overlayfs opens them with the rights of who mounted. */
const DUMP = `/ 0 40755 3 0 0 0 0.0 - - -
/own 0 40700 2 ${OWNER} ${OWNER} 0 0.0 - - -
/own/note 5 100600 1 ${OWNER} ${OWNER} 0 0.0 - mine\\n -
/own/program 19 100700 1 ${OWNER} ${OWNER} 0 0.0 - ${PROGRAM} -
`;

let count = 0;

before(() => {
  writeFileSync(image, writeImage(parseDump(Buffer.from(DUMP)), 1));
  mkdirSync(join(repository, 'objects'), { recursive: true });
  mkdirSync(mountPoint);
});
after(() => scratch.remove());

/** Runs a command as the owner, in the actor's namespaces. */
function asOwner(actor: Actor, ...command: string[]): string {
  const words = ['-U', '-m', '-t', String(actor.pid), '-S', String(OWNER), '-G', String(OWNER), ...command];
  const { stdout, stderr } = spawnSync('nsenter', words, { encoding: 'utf8' });
  return stdout + stderr;
}

/** What becomes of a daemon with these capabilities, of a mount it makes, and of a private program in that. */
async function tryWith(capabilities: readonly string[]): Promise<string> {
  const directory = join(scratch.path, `programs-${++count}`);
  const programs = confinePrograms(directory, capabilities);
  const policy = join(directory, 'policy.d');
  mkdirSync(policy);
  writeFileSync(
    join(policy, 'test.toml'),
    policyText({ digests: [digestOfFile(image)], repositories: { [repository]: 'trusted' } }),
  );
  const socket = join(directory, 'socket');
  const places = ['--policy-dir', policy, '--state-dir', join(directory, 'state'), '--socket', socket, '--bus', 'none'];
  const daemon = startInBackground([join(programs, 'cfsmountd'), ...places], {});
  const actor = await startActor({ uid: 4711, namespace: 'many', subordinate: 500_000 });
  try {
    await daemon.says('"msg":"ready"');
    assert.equal(readStatus(daemon.process.pid!, 'Seccomp'), '2');
    await actor.do(
      ({ client, file }, { address, image, mountPoint }) => {
        const connection = client.connect({ address });
        const opened = file.openPath(image, file.O_RDONLY);
        client.attach(connection.mountFile(opened, []).mount, mountPoint);
      },
      { address: `unix:path=${socket}`, image, mountPoint },
    );
    assert.equal(asOwner(actor, 'cat', join(mountPoint, 'own/note')), 'mine\n');
    return asOwner(actor, join(mountPoint, 'own/program'));
  } catch (error) {
    return String(error);
  } finally {
    await actor.stop();
    await daemon.ended('SIGTERM');
  }
}

test('with the capabilities of the unit, what only its owner may read or run can be read and run', async () => {
  assert.equal(await tryWith(CAPABILITIES), 'ran\n');
});

const NEEDED: Readonly<Record<string, RegExp>> = {
  CAP_SYS_ADMIN: /unshare: EPERM/,
  CAP_SYS_CHROOT: /internal error/, // setns(2) into a mount namespace
  CAP_SYS_PTRACE: /internal error/, // to open the namespace of a process of another user
  CAP_DAC_OVERRIDE: /EACCES|Permission denied/,
};
for (const [capability, failure] of Object.entries(NEEDED)) {
  test(`${capability} is needed`, async () => {
    assert.match(await tryWith(CAPABILITIES.filter((name) => name !== capability)), failure);
  });
}

/** Runs test files of the suite against confined programs; returns what they print. */
async function runSuite(files: readonly string[], capabilities: readonly string[], ...flags: string[]): Promise<string> {
  const { NODE_TEST_CONTEXT: _ours, ...env } = process.env; // with it, a test run inside a test runs nothing
  const programs = confinePrograms(join(scratch.path, `programs-${++count}`), capabilities);
  const paths = files.map((file) => join(ROOT, 'build/test', `${file}.test.js`));
  const child = spawn(process.execPath, ['--test', '--test-concurrency=1', '--test-reporter=tap', ...flags, ...paths], {
    env: { ...env, CFSMOUNTD_DIST: programs },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  await new Promise((resolve) => child.on('close', resolve));
  return output;
}

test('CAP_KILL is needed: a helper that its caller stopped has to be ended', { timeout: 180_000 }, async () => {
  const stopped = (capabilities: readonly string[]) =>
    runSuite(['attacks/23-helper-stopped'], capabilities, '--test-name-pattern=^stopped with ids');
  assert.match(await stopped(CAPABILITIES), /^ok .* stopped with ids of the caller: /m);
  const output = await stopped(CAPABILITIES.filter((name) => name !== 'CAP_KILL'));
  assert.match(output, /^not ok .* stopped with ids of the caller: /m);
  assert.match(output, /the helper is gone/);
});

test('every capability of the unit is looked at above', () => {
  assert.deepEqual([...Object.keys(NEEDED), 'CAP_KILL'].sort(), [...CAPABILITIES].sort());
});

// The whole suite runs so by `make confined`.
test(
  'mounts, both transports and an attack: their tests pass under the restrictions of the unit',
  { timeout: 180_000 },
  async () => {
    const output = await runSuite(['e2e/mount', 'e2e/bus', 'attacks/31-parked-namespace'], CAPABILITIES);
    assert.doesNotMatch(output, /^not ok/m, output);
    assert.ok(Number(/^# pass (\d+)$/m.exec(output)?.[1]) > 50, output);
  },
);
