import { Variant as NativeVariant } from 'dbus-native/lib/values.js';
import { FormatError } from '../image/format-error.js';
import { quoteClientText } from './quote.js';

/** A D-Bus variant as it is read and written: the signature of one complete type, and the value. */
export interface Variant {
  readonly signature: string;
  readonly value: unknown;
}

/** An `a{sv}` as it is read and written. */
export type Dict = readonly (readonly [key: string, value: Variant])[];

/** The keys a dict must have, each with the signature of its value. */
export type DictShape = Readonly<Record<string, string>>;

export function variant(signature: string, value: unknown): Variant {
  return new NativeVariant(signature, value);
}

/** Takes an `a{sv}` apart; throws `FormatError` if a key comes twice, for which the specification leaves the meaning open. */
export function readDict(pairs: unknown): Map<string, Variant> {
  if (!Array.isArray(pairs)) throw new FormatError('dict-not-a-dict', 'expected a dict (signature a{sv})');
  const entries = new Map<string, Variant>();
  for (const pair of pairs as readonly unknown[]) {
    const [key, value] = requirePair(pair);
    if (entries.has(key)) throw new FormatError('dict-duplicate-key', `${quoteClientText(key)} is given twice`);
    entries.set(key, value);
  }
  return entries;
}

function requirePair(pair: unknown): [string, Variant] {
  if (Array.isArray(pair) && pair.length === 2) {
    const [key, value] = pair as [unknown, unknown];
    if (typeof key === 'string' && value instanceof NativeVariant) return [key, value];
  }
  throw new FormatError('dict-not-a-dict', 'expected a dict (signature a{sv})');
}

/** Writes an object as `a{sv}`, its keys in the order of the shape. */
export function writeDict<S extends DictShape>(shape: S, values: { readonly [K in keyof S]: unknown }): Dict {
  return Object.entries(shape).map(([key, signature]) => [key, variant(signature, values[key])] as const);
}

/** Reads an `a{sv}` of a known shape; keys outside the shape stay in the object. Throws `FormatError` on another type than the shape has. */
export function readShapedDict(shape: DictShape, pairs: unknown): Record<string, unknown> {
  const values = [...readDict(pairs)].map(([key, { signature, value }]) => {
    const expected = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (expected !== undefined && expected !== signature) {
      throw new FormatError('dict-wrong-type', `${key} must have the D-Bus type ${expected}, not ${quoteClientText(signature)}`);
    }
    return [key, value] as const;
  });
  return Object.fromEntries(values);
}
