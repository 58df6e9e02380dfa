import { isObjectPath } from './name-syntax.js';
import { ProtocolError } from './protocol-error.js';
import { parseSignature, parseSingleType } from './signature.js';
import type { TypeNode } from './signature.js';
import { align, checkString, readSignature, readString, readUint32, skipBytes } from './wire-reader.js';
import type { WireReader } from './wire-reader.js';

// D-Bus specification, "Summary of D-Bus Marshalling" and "Valid Signatures".
const MAX_ARRAY_BYTES = 64 * 1024 * 1024;
const MAX_DEPTH = 64;

/** What is left to spend on one message, and what its `h` values may be. */
export interface ValueBudget {
  values: number;
  readonly maxSignature: number;
  readonly unixFds: number;
}

/** Walks one value of a type, checking everything a parser behind us would trust. Every step takes a byte of the message or of the budget. */
export function checkValue(reader: WireReader, type: TypeNode, budget: ValueBudget, depth = 0): void {
  spend(budget, 1);
  switch (type.code) {
    case 'a':
      return checkArray(reader, type, budget, depth + 1);
    case '(':
    case '{':
      return checkStruct(reader, type, budget, depth + 1);
    case 'v':
      return checkVariant(reader, budget, depth + 1);
    default:
      return checkBasic(reader, type, budget);
  }
}

function checkBasic(reader: WireReader, type: TypeNode, budget: ValueBudget): void {
  switch (type.code) {
    case 's':
      return checkString(reader);
    case 'o':
      if (!isObjectPath(readString(reader))) throw new ProtocolError('malformed object path');
      return;
    case 'g':
      parseSignature(readLimitedSignature(reader, budget));
      return;
    case 'b':
      if (readUint32(reader) > 1) throw new ProtocolError('a boolean is neither 0 nor 1');
      return;
    case 'h':
      if (readUint32(reader) >= budget.unixFds) throw new ProtocolError('a file descriptor index without a file descriptor');
      return;
    default:
      align(reader, type.align);
      skipBytes(reader, type.size);
  }
}

function checkArray(reader: WireReader, type: TypeNode, budget: ValueBudget, depth: number): void {
  requireDepth(depth);
  const element = onlyChild(type);
  const length = readUint32(reader);
  if (length > MAX_ARRAY_BYTES) throw new ProtocolError('an array is longer than 64 MiB');
  align(reader, element.align);
  const end = reader.at + length;
  if (isPlainNumber(element)) {
    if (length % element.size !== 0) throw new ProtocolError('an array ends inside an element');
    // Bytes are handed on in one piece, other numbers one by one.
    if (element.code !== 'y') spend(budget, length / element.size);
    skipBytes(reader, length);
  }
  while (reader.at < end) checkValue(reader, element, budget, depth);
  if (reader.at !== end) throw new ProtocolError('an array ends inside an element');
}

function checkStruct(reader: WireReader, type: TypeNode, budget: ValueBudget, depth: number): void {
  requireDepth(depth);
  align(reader, 8);
  for (const field of type.children) checkValue(reader, field, budget, depth);
}

function checkVariant(reader: WireReader, budget: ValueBudget, depth: number): void {
  requireDepth(depth);
  checkValue(reader, parseSingleType(readLimitedSignature(reader, budget)), budget, depth);
}

function readLimitedSignature(reader: WireReader, budget: ValueBudget): string {
  const signature = readSignature(reader);
  if (signature.length > budget.maxSignature) throw new ProtocolError(`a signature is longer than ${budget.maxSignature} bytes`);
  return signature;
}

function requireDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw new ProtocolError('values nest more than 64 deep');
}

function spend(budget: ValueBudget, values: number): void {
  budget.values -= values;
  if (budget.values < 0) throw new ProtocolError('more values than one message may hold');
}

// Every bit pattern is a number, but not a boolean and not an fd index.
function isPlainNumber(type: TypeNode): boolean {
  return type.size > 0 && type.code !== 'b' && type.code !== 'h';
}

function onlyChild(type: TypeNode): TypeNode {
  const [child] = type.children;
  if (child === undefined) throw new Error('array type without an element type');
  return child;
}
