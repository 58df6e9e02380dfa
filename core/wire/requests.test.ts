import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_SIGNATURE_BYTES } from '../image/verity-signature.js';
import { RequestError } from './errors.js';
import {
  parseCheckFile,
  parseCheckImage,
  parseListImages,
  parseListMounts,
  parseMountFile,
  parseMountImage,
} from './requests.js';
import { variant } from './variants.js';

const DIGEST = `sha256:${'a1'.repeat(32)}`;
const DEFAULTS = { nosuid: false, noexec: false };

function refused(parse: () => unknown, message: RegExp): void {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof RequestError, String(error));
    assert.equal(error.code, 'BadRequest');
    assert.match(error.message, message);
    assert.ok(error.message.length <= 200, `${error.message.length} characters`);
    assert.match(error.message, /^[ -~…]*$/);
    return;
  }
  assert.fail(`passed, expected ${message}`);
}

test('each method takes a plain request', () => {
  const digest = { kind: 'digest', digest: DIGEST };
  assert.deepEqual(parseMountImage([DIGEST, 0, []]), { image: digest, userns: 0, options: DEFAULTS });
  assert.deepEqual(parseCheckImage(['os/base', []]), { image: { kind: 'name', name: 'os/base' }, options: DEFAULTS });
  assert.deepEqual(parseMountFile([2, [0, 1], 3, []]), { file: 2, objects: [0, 1], userns: 3, options: DEFAULTS });
  assert.deepEqual(parseCheckFile([0, [], []]), { file: 0, objects: [], options: DEFAULTS });
  assert.equal(parseListImages([[]]), undefined);
  assert.equal(parseListMounts([[]]), undefined);
});

test('options are taken with their exact types', () => {
  const options = [
    ['digest', variant('s', DIGEST)],
    ['nosuid', variant('b', true)],
    ['noexec', variant('b', true)],
  ];
  assert.deepEqual(parseMountImage(['a', 0, options]).options, { digest: DIGEST, nosuid: true, noexec: true });
});

test('a signature is bytes, as many as the kernel takes of one', () => {
  const parse = (value: unknown, type = 'ay') => parseCheckImage(['a', [['signature', variant(type, value)]]]).options.signature;
  for (const length of [1, MAX_SIGNATURE_BYTES]) assert.equal(parse(Buffer.alloc(length))?.length, length);
  for (const length of [0, MAX_SIGNATURE_BYTES + 1])
    refused(() => parse(Buffer.alloc(length)), /^options.signature: a signature has 1 to 16128 bytes/);
  refused(() => parse('x', 's'), /^options: signature must have the D-Bus type ay/);
  refused(() => parse([1], 'au'), /^options: signature must have the D-Bus type ay/);
  refused(() => parse([1]), /^options.signature: expected bytes/);
});

const names: [string, boolean][] = [
  ['a', true],
  ['_', true],
  ['A-b_c.d/0', true],
  ['x'.repeat(255), true],
  ['x'.repeat(256), false],
  [Array(8).fill('a').join('/'), true],
  [Array(9).fill('a').join('/'), false],
  ['', false],
  ['.', false],
  ['..', false],
  ['a/..', false],
  ['a/../b', false],
  ['.hidden', false],
  ['-option', false],
  ['/a', false],
  ['a/', false],
  ['a//b', false],
  ['a b', false],
  ['a,b', false],
  ['a=b', false],
  ['%n', false],
  ['a\n', false],
  ['a\0', false],
  ['é', false],
];
for (const [name, good] of names) {
  test(`image name ${good ? 'taken' : 'refused'}: ${JSON.stringify(name.slice(0, 20))} of ${name.length}`, () => {
    if (good) assert.deepEqual(parseCheckImage([name, []]).image, { kind: 'name', name });
    else refused(() => parseCheckImage([name, []]), /^image: /);
  });
}

const digests = [
  'sha256:',
  `sha256:${'a'.repeat(63)}`,
  `sha256:${'a'.repeat(65)}`,
  `sha256:${'A'.repeat(64)}`,
  `md5:${'a'.repeat(32)}`,
  `${DIGEST}\n`,
  ` ${DIGEST}`,
  'a:b',
  ':',
  `SHA256:${'a'.repeat(64)}`,
];
for (const digest of digests) {
  test(`digest refused, as image and as option: ${JSON.stringify(digest.slice(0, 20))} of ${digest.length}`, () => {
    refused(() => parseCheckImage([digest, []]), /^image: /);
    refused(() => parseCheckImage(['a', [['digest', variant('s', digest)]]]), /^options\.digest: /);
  });
}

test('an empty digest option is refused, not taken for none', () => {
  refused(() => parseCheckImage(['a', [['digest', variant('s', '')]]]), /^options\.digest: /);
});

const badOptions: [string, unknown, RegExp][] = [
  ['unknown', [['foo', variant('b', true)]], /^options: unknown option "foo"; allowed: digest, nosuid, noexec, signature$/],
  ['__proto__', [['__proto__', variant('b', true)]], /unknown option "__proto__"/],
  ['toString', [['toString', variant('b', true)]], /unknown option "toString"/],
  ['long and hostile', [['\n,ro=%n'.repeat(1e5), variant('b', true)]], /unknown option "\\u\{a\},ro=%n/],
  ['nosuid as string', [['nosuid', variant('s', 'true')]], /^options: nosuid must have the D-Bus type b, not "s"$/],
  ['nosuid as number', [['nosuid', variant('u', 1)]], /nosuid must have the D-Bus type b/],
  ['digest as bytes', [['digest', variant('ay', Buffer.alloc(32))]], /digest must have the D-Bus type s/],
  [
    'the same twice',
    [
      ['nosuid', variant('b', true)],
      ['nosuid', variant('b', true)],
    ],
    /"nosuid" is given twice/,
  ],
  ['not a dict', 5, /^options: expected a dict/],
  ['not pairs', [['nosuid']], /^options: expected a dict/],
];
for (const [name, options, message] of badOptions) {
  test(`options refused: ${name}`, () => refused(() => parseMountImage(['a', 0, options]), message));
}

test('lists take no option', () => refused(() => parseListMounts([[['all', variant('b', true)]]]), /this method has no options/));

test('fd indexes are 32 bit integers; object stores are at most 16', () => {
  assert.equal(parseMountImage(['a', 0xffff_ffff, []]).userns, 0xffff_ffff);
  for (const index of [-1, 0x1_0000_0000, 1.5, Number.NaN, '0', 0n, null]) {
    refused(() => parseMountImage(['a', index, []]), /^userns: /);
    refused(() => parseCheckFile([0, [0, index], []]), /^objects\.1: /);
  }
  assert.equal(parseCheckFile([0, Array(16).fill(1), []]).objects.length, 16);
  refused(() => parseCheckFile([0, Array(17).fill(1), []]), /^objects: at most 16/);
});

test('fuzz: any body gives a request or BadRequest in 200 printable characters', () => {
  const option = fc.tuple(
    fc.oneof(fc.string(), fc.constantFrom('digest', 'nosuid')),
    fc.tuple(fc.constantFrom('s', 'b'), fc.anything()).map(([type, value]) => variant(type, value)),
  );
  const body = fc.oneof(fc.tuple(fc.string({ unit: 'binary' }), fc.anything(), fc.array(option)), fc.array(fc.anything()));
  fc.assert(
    fc.property(body, (values) => {
      try {
        parseMountImage(values);
      } catch {
        refused(() => parseMountImage(values), /./);
      }
    }),
  );
});
