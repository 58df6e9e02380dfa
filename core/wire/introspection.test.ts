import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  INTROSPECTABLE_INTERFACE,
  MOUNT_INTERFACE,
  PEER_INTERFACE,
  PROPERTIES_INTERFACE,
  findMember,
  signatureOf,
} from './contract.js';
import { introspect } from './introspection.js';
import { OBJECT_PATH } from './names.js';
import { isMemberName } from './name-syntax.js';
import { parseSignature } from './signature.js';

const GOLDEN = new URL('../../../core/wire/introspection.golden.xml', import.meta.url);

/** Element names in order, after checking that tags pair up and attributes are quoted. */
function elements(xml: string): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  const body = xml.replace(/^<!DOCTYPE node PUBLIC "[^"]*"\s+"[^"]*">/, '');
  const rest = body.replaceAll(
    /<(\/?)([a-z]+)((?: [a-z]+="[^"<>&]*")*)(\/?)>/g,
    (_, close: string, name: string, _attributes, empty: string) => {
      if (close === '/') assert.equal(open.pop(), name);
      else seen.push(name);
      if (close === '' && empty === '') open.push(name);
      return '';
    },
  );
  assert.equal(rest.trim(), '');
  assert.deepEqual(open, []);
  return seen;
}

test('introspection of the object is the golden file', () => {
  assert.equal(introspect(OBJECT_PATH), readFileSync(GOLDEN, 'utf8'));
});

test('the nodes above lead to the object; beside them is nothing', () => {
  for (const [path, child] of [
    ['/', 'org'],
    ['/org', 'composefs'],
    ['/org/composefs', 'Mount1'],
  ] as const) {
    const xml = introspect(path) ?? '';
    assert.deepEqual(elements(xml), ['node', 'interface', 'method', 'arg', 'interface', 'method', 'method', 'arg', 'node']);
    assert.ok(xml.includes(`<node name="${child}"/>`));
  }
  for (const path of ['/or', '/org/', '/org/composefs/Mount', `${OBJECT_PATH}/x`, '', '//'])
    assert.equal(introspect(path), undefined);
});

test('introspection is well-formed and says no more than the contract', () => {
  const seen = elements(introspect(OBJECT_PATH) ?? '');
  const all = [MOUNT_INTERFACE, PROPERTIES_INTERFACE, INTROSPECTABLE_INTERFACE, PEER_INTERFACE];
  assert.equal(seen.filter((name) => name === 'method').length, all.flatMap((known) => known.members).length);
  assert.equal(seen.filter((name) => name === 'interface').length, 4);
});

test('signatures of the contract', () => {
  const signatures = MOUNT_INTERFACE.members.map(
    (member) => `${member.name} ${signatureOf(member.in)} ${signatureOf(member.out)} ${member.needsRoot}`,
  );
  assert.deepEqual(signatures, [
    'MountImage sha{sv} ha{sv} false',
    'MountFile hahha{sv} ha{sv} false',
    'CheckImage sa{sv} a{sv} false',
    'CheckFile haha{sv} a{sv} false',
    'ListImages a{sv} aa{sv} false',
    'ListMounts a{sv} aa{sv} false',
    'Reload   true',
  ]);
  for (const member of MOUNT_INTERFACE.members) {
    assert.ok(isMemberName(member.name));
    for (const arg of [...member.in, ...member.out]) assert.equal(parseSignature(arg.type).length, 1);
    assert.equal(findMember(MOUNT_INTERFACE, member.name), member);
  }
  assert.equal(findMember(MOUNT_INTERFACE, 'toString'), undefined);
});
