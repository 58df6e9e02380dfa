import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { readSurroundings, requireMountableSurroundings } from './user-namespace.js';

const module = new URL('user-namespace.js', import.meta.url).href;

function readInside(...unshare: string[]): unknown {
  const script = `import { readSurroundings } from '${module}'; console.log(JSON.stringify(readSurroundings()));`;
  return JSON.parse(
    execFileSync('unshare', [...unshare, process.execPath, '--input-type=module', '-e', script], { encoding: 'utf8' }),
  );
}

const places: [unshare: string[], expected: ReturnType<typeof readSurroundings>][] = [
  [['-U'], { inInitialUserns: false, ownsMountNamespace: false, mayMount: false }],
  [['-Ur'], { inInitialUserns: false, ownsMountNamespace: false, mayMount: true }],
  [['-Um'], { inInitialUserns: false, ownsMountNamespace: true, mayMount: false }],
  [['-Urm'], { inInitialUserns: false, ownsMountNamespace: true, mayMount: true }],
  [['-Urm', 'unshare', '-Ur'], { inInitialUserns: false, ownsMountNamespace: false, mayMount: true }],
  [['-Urm', 'unshare', '-Urm'], { inInitialUserns: false, ownsMountNamespace: true, mayMount: true }],
];
for (const [unshare, expected] of places) {
  test(`surroundings recognised: unshare ${unshare.join(' ')}`, () => {
    assert.deepEqual(readInside(...unshare), expected);
  });
}

test('only a mount namespace of its own, where it may mount, is mountable', () => {
  for (const [, surroundings] of places) {
    const { ownsMountNamespace, mayMount } = surroundings;
    const check = () => requireMountableSurroundings(surroundings);
    if (ownsMountNamespace && mayMount) assert.doesNotThrow(check);
    else assert.throws(check, { name: 'RequestError', code: 'BadUserNamespace', hint: /podman unshare.*unshare -Urm/s });
  }
});

test('the initial user namespace is not mountable, whatever root may do there', () => {
  const root = { inInitialUserns: true, ownsMountNamespace: true, mayMount: true };
  assert.throws(() => requireMountableSurroundings(root), { code: 'BadUserNamespace', message: /initial/ });
});
