import assert from 'node:assert/strict';
import { test } from 'node:test';

import { podmanName } from './podman-name.js';

for (const [name, shown] of [
  ['base', 'localhost/base:latest'],
  ['team/base', 'localhost/team/base:latest'],
  ['quay.io/team/base', 'quay.io/team/base:latest'],
  ['localhost/base', 'localhost/base:latest'],
  ['a__b/c-d.e', 'localhost/a__b/c-d.e:latest'],
  ['v1.2', 'localhost/v1.2:latest'],
  ['Base', undefined],
  ['team/Base', undefined],
  ['a..b', undefined],
  ['a___b', undefined],
  ['_a', undefined],
  ['a-', undefined],
  ['bad_host.io/a', 'localhost/bad_host.io/a:latest'],
] as const)
  test(`for podman ${name} is ${shown ?? 'without a name'}`, () => assert.equal(podmanName(name), shown));
