import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeMessage } from './codec.js';
import { REPLY_LIMITS, checkMessage } from './guard.js';
import { ProtocolError } from './protocol-error.js';
import { CALL, build, check } from './raw-message.test.js';
import type { Field, Order } from './raw-message.test.js';
import { parseSignature } from './signature.js';
import type { TypeNode } from './signature.js';

test('64 KiB at their worst are checked and decoded in bounded time', () => {
  const worst: [string, unknown[]][] = [
    [`aa(${'y'.repeat(60)})`, [Array(8000).fill([])]],
    ['av', [Array(8000).fill(['y', 1])]],
    [`av`, [Array(230).fill([`${'a'.repeat(32)}y`, []])]],
    ['as', [Array(8000).fill('')]],
    ['ab', [Array(16_000).fill(1)]],
  ];
  for (const [signature, body] of worst) {
    const message = build({ signature, body });
    const start = performance.now();
    decodeMessage(message, check(message));
    // Some milliseconds; the bound is wide for a busy machine and far below what quadratic work would take.
    assert.ok(performance.now() - start < 500, `${signature}: ${performance.now() - start} ms`);
  }
});

const BASIC_VALUES: Record<string, fc.Arbitrary<unknown>> = {
  y: fc.nat(255),
  b: fc.nat(1),
  n: fc.nat(0x7fff),
  q: fc.nat(0xffff),
  i: fc.nat(),
  u: fc.nat(),
  h: fc.nat(1),
  x: fc.bigInt(0n, 1n << 62n),
  t: fc.bigInt(0n, 1n << 63n),
  d: fc.constant(0),
  s: fc.string({ unit: fc.constantFrom('a', 'é', '😀') }),
  o: fc.constantFrom('/', '/a/b'),
  g: fc.constantFrom('', 'a{sv}', '(u)'),
};
const basic = fc.constantFrom(...Object.keys(BASIC_VALUES));
const { type: anyType } = fc.letrec<{ type: string }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    basic,
    fc.constant('v'),
    tie('type').map((element) => `a${element}`),
    fc.array(tie('type'), { minLength: 1, maxLength: 3 }).map((fields) => `(${fields.join('')})`),
    fc.tuple(basic, tie('type')).map(([key, value]) => `a{${key}${value}}`),
  ),
}));

function valueOf(type: TypeNode): fc.Arbitrary<unknown> {
  if (type.code === 'a') return fc.array(valueOf(type.children[0] as TypeNode), { maxLength: 3 });
  if (type.code === '(' || type.code === '{') return fc.tuple(...type.children.map(valueOf));
  if (type.code === 'v')
    return basic.chain((inner) => fc.tuple(fc.constant(inner), BASIC_VALUES[inner] as fc.Arbitrary<unknown>));
  return BASIC_VALUES[type.code] as fc.Arbitrary<unknown>;
}
const anyBody = fc
  .array(
    anyType.filter((type) => type.length < 60),
    { maxLength: 2 },
  )
  .map((types) => types.join(''))
  .chain((signature) => fc.tuple(fc.constant(signature), fc.tuple(...parseSignature(signature).map(valueOf))));
const FDS: readonly Field[] = [...CALL, [9, 'u', 2]];
const generous = { ...REPLY_LIMITS, maxBytes: 1024 * 1024 };

test('fuzz: every valid message passes, and means the same in both byte orders', () => {
  fc.assert(
    fc.property(anyBody, ([signature, body]) => {
      const [little, big] = (['l', 'B'] as const).map((order) => {
        const message = build({ order, fields: FDS, signature, body });
        return decodeMessage(message, check(message, 2, generous));
      });
      assert.deepEqual(little, big);
    }),
  );
});

test('fuzz: a changed message is refused with ProtocolError, or decodes', () => {
  const change = fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)));
  let passed = 0;
  fc.assert(
    fc.property(
      anyBody,
      fc.constantFrom<Order>('l', 'B'),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      ([signature, body], order, changes) => {
        const message = build({ order, fields: FDS, signature, body });
        for (const [at, byte] of changes) message[at % message.length] = byte;
        try {
          const header = checkMessage(message, generous, 2);
          // Not allowed to throw: the codec wraps what dbus-native throws, so the cause would be its.
          assert.doesNotThrow(() => decodeMessage(message, header));
          passed++;
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
        }
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(passed > 100, `only ${passed} changed messages passed: the property says little`);
});

test('fuzz: arbitrary bytes never throw anything but ProtocolError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        checkMessage(Buffer.from(bytes), generous, 2);
      } catch (error) {
        assert.ok(error instanceof ProtocolError);
      }
    }),
  );
});
