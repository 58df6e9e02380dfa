import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestError } from '../../core/wire/errors.js';
import { parseCall } from './protocol.js';

const taken: [path: string, body: string, call: object][] = [
  ['/Plugin.Activate', '', {}],
  ['/Plugin.Activate', '{}', {}],
  ['/VolumeDriver.List', '', {}],
  ['/VolumeDriver.Create', '{"Name":"v"}', { Name: 'v' }],
  ['/VolumeDriver.Create', '{"Name":"v","Opts":null}', { Name: 'v', Opts: null }],
  ['/VolumeDriver.Create', '{"Name":"v","Opts":{"image":"base"}}', { Name: 'v', Opts: { image: 'base' } }],
  ['/VolumeDriver.Mount', '{"Name":"A.b_c-1","ID":"0f"}', { Name: 'A.b_c-1', ID: '0f' }],
  ['/VolumeDriver.Get', `{"Name":"${'v'.repeat(200)}"}`, { Name: 'v'.repeat(200) }],
];
for (const [path, body, call] of taken) {
  test(`taken: ${path} ${body.slice(0, 40)}`, () => {
    assert.deepEqual(parseCall(path, body), { path, ...call });
  });
}

const NAMES = ['', '.', '..', '../v', 'a/b', '/v', 'a/../b', '-v', '.v', '_v', 'v\0', 'v\n', 'v v', 'ü', 'v'.repeat(201)];
const refused: [path: string | undefined, body: string, says: RegExp][] = [
  [undefined, '', /no such method/],
  ['', '', /no such method/],
  ['/', '{}', /no such method/],
  ['/VolumeDriver.Destroy', '{}', /no such method/],
  ['/VolumeDriver.Create/', '{"Name":"v"}', /no such method/],
  ['/VolumeDriver.Create?x', '{"Name":"v"}', /no such method/],
  ['/toString', '', /no such method/],
  ['/__proto__', '', /no such method/],
  ['__proto__', '', /no such method/],
  ['constructor', '', /no such method/],
  ['/VolumeDriver.Create', '{', /not JSON/],
  ['/VolumeDriver.Create', 'null', /./],
  ['/VolumeDriver.Create', '[]', /./],
  ['/VolumeDriver.Create', '"v"', /./],
  ['/VolumeDriver.Create', '['.repeat(32_000), /not JSON/],
  ['/VolumeDriver.Create', `${'['.repeat(32_000)}${']'.repeat(32_000)}`, /./],
  ['/VolumeDriver.Create', '', /Name/],
  ['/VolumeDriver.Create', '{"Name":7}', /Name/],
  ['/VolumeDriver.Create', '{"Name":"v","Opts":[]}', /Opts/],
  ['/VolumeDriver.Create', '{"Name":"v","Opts":{"image":1}}', /Opts\.image/],
  ['/VolumeDriver.Create', `{"Name":"v","Opts":{"image":"${'x'.repeat(4097)}"}}`, /Opts\.image/],
  ['/VolumeDriver.Create', '{"Name":"v","Mountpoint":"/etc"}', /Mountpoint/],
  ['/VolumeDriver.Create', '{"Name":"v","__proto__":{"x":1}}', /__proto__/],
  ['/VolumeDriver.Mount', '{"Name":"v"}', /ID/],
  ['/VolumeDriver.Mount', '{"Name":"v","ID":""}', /ID/],
  ['/VolumeDriver.Mount', '{"Name":"v","ID":"../../x"}', /ID/],
  ['/VolumeDriver.Mount', '{"Name":"v","ID":".."}', /ID/],
  ['/VolumeDriver.Mount', `{"Name":"v","ID":"${'f'.repeat(129)}"}`, /ID/],
  ['/VolumeDriver.List', '{"Name":"v"}', /Name/],
  ...NAMES.map((name): [string, string, RegExp] => [
    '/VolumeDriver.Get',
    JSON.stringify({ Name: name }),
    /^Name: is not 1 to 200/,
  ]),
];
for (const [path, body, says] of refused) {
  test(`refused: ${path} ${body.slice(0, 40)}`, () => {
    assert.throws(
      () => parseCall(path, body),
      (error) => error instanceof RequestError && error.code === 'BadRequest' && says.test(error.message),
    );
  });
}
