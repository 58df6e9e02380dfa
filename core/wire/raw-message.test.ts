// No test: what the tests of the guard share, named so that the shipped build leaves it out.
import assert from 'node:assert/strict';
import { REQUEST_LIMITS, checkMessage } from './guard.js';
import type { GuardLimits } from './guard.js';
import { ProtocolError } from './protocol-error.js';
import { parseSignature } from './signature.js';
import type { TypeNode } from './signature.js';

export type Order = 'l' | 'B';
export type Field = readonly [code: number, signature: string, value: unknown];
export interface Raw {
  order?: Order;
  type?: number;
  flags?: number;
  version?: number;
  serial?: number;
  fields?: readonly Field[];
  signature?: string;
  /** Values to marshal, or the body as it is. */
  body?: readonly unknown[] | Buffer;
  bodyLength?: number;
}

export const CALL: readonly Field[] = [
  [1, 'o', '/a'],
  [3, 's', 'M'],
];

// A writer of its own, in both byte orders, that checks nothing: the tests need what no sane encoder writes.
function marshal(order: Order, signature: string, values: readonly unknown[], base = 0): Buffer {
  const bytes: number[] = [];
  const align = (boundary: number): void => {
    while ((base + bytes.length) % boundary !== 0) bytes.push(0);
  };
  const integer = (value: bigint, size: number): void => {
    align(size);
    const little = Array.from({ length: size }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn));
    bytes.push(...(order === 'l' ? little : little.reverse()));
  };
  const write = (type: TypeNode, value: unknown): void => {
    if (type.code === 's' || type.code === 'o') {
      const text = Buffer.from(value as string);
      integer(BigInt(text.length), 4);
      bytes.push(...text, 0);
    } else if (type.code === 'g') bytes.push((value as string).length, ...Buffer.from(value as string, 'latin1'), 0);
    else if (type.code === 'd') bytes.push(...(align(8), [0, 0, 0, 0, 0, 0, 0, 0]));
    else if (type.code === '(' || type.code === '{') {
      align(8);
      type.children.forEach((child, at) => write(child, (value as unknown[])[at]));
    } else if (type.code === 'a') writeArray(type.children[0] as TypeNode, value as unknown[]);
    else if (type.code === 'v') {
      const [inner, held] = value as [string, unknown];
      bytes.push(inner.length, ...Buffer.from(inner), 0);
      write(parseSignature(inner)[0] as TypeNode, held);
    } else integer(BigInt(value as number), type.size);
  };
  const writeArray = (element: TypeNode, values: unknown[]): void => {
    integer(0n, 4);
    const lengthAt = bytes.length - 4;
    align(element.align);
    const start = bytes.length;
    for (const value of values) write(element, value);
    const length = Buffer.alloc(4);
    if (order === 'l') length.writeUInt32LE(bytes.length - start);
    else length.writeUInt32BE(bytes.length - start);
    bytes.splice(lengthAt, 4, ...length);
  };
  parseSignature(signature).forEach((type, at) => write(type, values[at]));
  return Buffer.from(bytes);
}

export function build(raw: Raw = {}): Buffer {
  const { order = 'l', signature = '', body = [] } = raw;
  const bodyBytes = Buffer.isBuffer(body) ? body : marshal(order, signature, body);
  const fields = [...(raw.fields ?? CALL), ...(signature === '' ? [] : [[8, 'g', signature] as const])];
  const start = [
    order.charCodeAt(0),
    raw.type ?? 1,
    raw.flags ?? 0,
    raw.version ?? 1,
    raw.bodyLength ?? bodyBytes.length,
    raw.serial ?? 1,
  ];
  const header = marshal(order, 'yyyyuua(yv)', [...start, fields.map(([code, type, value]) => [code, [type, value]])]);
  return Buffer.concat([header, Buffer.alloc(-header.length & 7), bodyBytes]);
}

export function check(raw: Raw | Buffer, fds = 0, limits: GuardLimits = REQUEST_LIMITS) {
  return checkMessage(Buffer.isBuffer(raw) ? raw : build(raw), limits, fds);
}

export function refused(raw: Raw | Buffer, message: RegExp, fds = 0, limits?: GuardLimits): ProtocolError {
  try {
    check(raw, fds, limits);
  } catch (error) {
    assert.ok(error instanceof ProtocolError, String(error));
    assert.match(error.message, message);
    return error;
  }
  return assert.fail(`passed, expected ${message}`);
}

export const withField = (...field: Field): Raw => ({ fields: [...CALL, field] });
