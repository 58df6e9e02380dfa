import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ConfigError, createProgram, readConfig } from './config.js';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfsmountd-config-'));
});
after(() => rmSync(directory, { recursive: true }));

const parse = (...flags: string[]) =>
  readConfig(
    createProgram()
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .parse(flags, { from: 'user' })
      .opts(),
  );

test('without flags and file, the documented defaults hold', () => {
  assert.deepEqual(parse(), {
    policyDirectories: ['/usr/lib/cfsmountd/policy.d', '/run/cfsmountd/policy.d', '/etc/cfsmountd/policy.d'],
    keyDirectories: ['/usr/lib/cfsmountd/keys.d', '/run/cfsmountd/keys.d', '/etc/cfsmountd/keys.d'],
    socket: '/run/cfsmountd/socket',
    bus: 'system',
    repositories: [],
    stateDirectory: '/var/lib/cfsmountd',
    idleExit: undefined,
  });
});

test('flags may be repeated where the help says so', () => {
  const config = parse(
    '--policy-dir',
    '/a',
    '--policy-dir',
    '/b',
    '--repo',
    '/r',
    '--repo',
    '/s',
    '--idle-exit',
    '30',
    '--bus',
    'none',
  );
  assert.deepEqual(config.policyDirectories, ['/a', '/b']);
  assert.deepEqual(config.repositories, ['/r', '/s']);
  assert.equal(config.idleExit, 30);
});

const badFlags: [string, string][] = [
  ['--socket', 'relative/path'],
  ['--policy-dir', 'relative'],
  ['--idle-exit', '-1'],
  ['--idle-exit', '1e3'],
  ['--bus', 'session'],
  ['--no-such-flag', 'x'],
];
for (const [flag, value] of badFlags) {
  test(`usage error: ${flag} ${value}`, () => assert.throws(() => parse(flag, value), { name: 'CommanderError' }));
}

// Run by somebody else than root, the file's owner is what is wrong: equally an error, and said first.
const badFiles: [string, string, RegExp][] = [
  ['unknown key', 'sokcet = "/a"', /known keys are policy-dir, key-dir, socket/],
  ['wrong type', 'idle-exit = "1"', /idle-exit/],
  ['relative path', 'socket = "a"', /absolute path/],
  ['not TOML', 'socket = \n', /:2: /],
];
for (const [what, text, message] of badFiles) {
  test(`broken configuration file: ${what}`, () => {
    const file = join(directory, 'broken.conf');
    writeFileSync(file, text);
    const expected = process.getuid?.() === 0 ? message : /belongs to uid|absolute path|known keys|idle-exit|:2: /;
    assert.throws(
      () => parse('--config', file),
      (error) => error instanceof ConfigError && expected.test(error.message),
    );
  });
}

test('a configuration file that was named must be there', () => {
  assert.throws(() => parse('--config', join(directory, 'missing.conf')), ConfigError);
});
