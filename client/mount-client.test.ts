import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { parseVerityDigest } from '../core/image/digest.js';
import { type Fd, FdList, type OwnedFd, sameOpenFile } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openPath } from '../core/kernel/file.js';
import { decodeMessage, encodeMethodCall } from '../core/wire/codec.js';
import { REQUEST_LIMITS, checkMessage } from '../core/wire/guard.js';
import {
  parseCheckFile,
  parseCheckImage,
  parseListImages,
  parseListMounts,
  parseMountFile,
  parseMountImage,
} from '../core/wire/requests.js';
import { encodeCheckReport, encodeMountResult, encodePolicySummary } from '../core/wire/results.js';
import { variant } from '../core/wire/variants.js';
import type { Connection, MethodCall, Reply } from './connection.js';
import { createMountClient } from './mount-client.js';

const digest = parseVerityDigest(`sha256:${'ab'.repeat(32)}`);
const result = { id: 2n ** 63n, digest, rule: 'r', verified: 'kernel', type: 'erofs', locked: true } as const;

/** A connection that answers with what it is given, and keeps the last call as the service would have read it. */
function answering(reply: () => Reply) {
  const seen: { call?: MethodCall; body?: readonly unknown[] } = {};
  const call = (made: MethodCall): Reply => {
    const bytes = encodeMethodCall({ ...made, serial: 1, fds: made.fds?.length ?? 0 });
    seen.call = made;
    seen.body = decodeMessage(bytes, checkMessage(bytes, REQUEST_LIMITS, made.fds?.length ?? 0)).body;
    return reply();
  };
  const connection: Connection = { call, callAsync: async (made) => call(made), close: () => undefined };
  return { client: createMountClient(connection, 'here'), seen };
}

const openStatus = (): OwnedFd => openPath('/proc/self/status', O_RDONLY);
const withMount = (): Reply => ({ body: [0, encodeMountResult(result)], fds: new FdList([openStatus()]) });
const withReport = (): Reply => {
  const flags = { nosuid: false, noexec: false };
  const report = encodeCheckReport({
    verdict: 'deny',
    rule: '',
    because: 'b',
    hint: 'h',
    digest,
    type: 'erofs',
    ...flags,
    considered: [],
  });
  return { body: [report], fds: new FdList() };
};

function leavesNothingOpen(run: () => void): void {
  const before = readdirSync('/proc/self/fd').length;
  run();
  assert.equal(readdirSync('/proc/self/fd').length, before);
}

test('mountImage: the service reads the image, the own user namespace and the options', () => {
  const { client, seen } = answering(withMount);
  leavesNothingOpen(() => {
    const { mount, result: told } = client.mountImage('os/base', { digest, nosuid: true, noexec: false });
    mount.close();
    assert.deepEqual(told, result);
  });
  assert.deepEqual(parseMountImage(seen.body!), {
    image: { kind: 'name', name: 'os/base' },
    userns: 0,
    options: { digest, nosuid: true, noexec: false },
  });
  assert.equal(seen.call?.fds?.length, 1);
});

test('mountFile: each index is that of its descriptor', () => {
  const { client, seen } = answering(withMount);
  using file = openStatus();
  using first = openPath('/', O_RDONLY | O_DIRECTORY);
  using second = openPath('/proc', O_RDONLY | O_DIRECTORY);
  using userns = openPath('/proc/self/ns/user', O_RDONLY);
  client.mountFile(file, [first, second], { userns }).mount.close();
  const request = parseMountFile(seen.body!);
  const sent = seen.call?.fds as readonly Fd[];
  assert.ok(sameOpenFile(sent[request.file]!, file));
  assert.deepEqual(
    request.objects.map((index) => sent[index]),
    [first, second],
  );
  assert.ok(sameOpenFile(sent[request.userns]!, userns));
  assert.ok(file.isOpen && userns.isOpen);
});

test('checkFile: each index is that of its descriptor', () => {
  const { client, seen } = answering(withReport);
  using file = openStatus();
  using store = openPath('/', O_RDONLY | O_DIRECTORY);
  assert.equal(client.checkFile(file, [store]).verdict, 'deny');
  const request = parseCheckFile(seen.body!);
  assert.deepEqual([seen.call?.fds?.[request.file], seen.call?.fds?.[request.objects[0]!]], [file, store]);
});

test('an empty digest is sent, for the service to refuse', () => {
  const { client, seen } = answering(withReport);
  client.checkImage('base', { digest: '' });
  assert.throws(() => parseCheckImage(seen.body!), { code: 'BadRequest' });
});

test('lists are asked for without options', () => {
  const { client, seen } = answering(() => ({ body: [[]], fds: new FdList() }));
  assert.deepEqual(client.listImages(), []);
  parseListImages(seen.body!);
  assert.deepEqual(client.listMounts(), []);
  parseListMounts(seen.body!);
});

test('status: from the properties', () => {
  const policy = { rules: 1, digests: 2, repositories: 3, loaded: 4 };
  const summary = variant('a{sv}', encodePolicySummary({ ...policy, loaded: 4n as never }));
  const properties = [
    ['Version', variant('s', '9')],
    ['Features', variant('as', ['idmap'])],
    ['Policy', summary],
  ];
  const { client } = answering(() => ({ body: [properties], fds: new FdList() }));
  assert.deepEqual(client.status(), { version: '9', features: ['idmap'], policy });
});

const malformed: [name: string, reply: () => Reply][] = [
  ['no descriptor', () => ({ body: [0, encodeMountResult(result)], fds: new FdList() })],
  ['an index beyond the descriptors', () => ({ body: [1, encodeMountResult(result)], fds: new FdList([openStatus()]) })],
  ['an empty result', () => ({ body: [0, []], fds: new FdList([openStatus()]) })],
  [
    'a result with a key too many',
    () => ({ body: [0, [...encodeMountResult(result), ['x', variant('s', '')]]], fds: new FdList([openStatus()]) }),
  ],
];
for (const [name, reply] of malformed) {
  test(`answer refused: ${name}`, () => {
    const { client } = answering(reply);
    leavesNothingOpen(() => assert.throws(() => client.mountImage('base'), { name: 'RequestError', code: 'Failed' }));
  });
}

test('status refused: a property is missing', () => {
  const { client } = answering(() => ({ body: [[]], fds: new FdList() }));
  assert.throws(() => client.status(), { name: 'RequestError', code: 'Failed' });
});

test('mountImageAsync: the same, by a promise', async () => {
  const { client, seen } = answering(withMount);
  const { mount } = await client.mountImageAsync('base');
  mount.close();
  assert.equal(parseMountImage(seen.body!).userns, 0);
});
