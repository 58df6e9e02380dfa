// SHA-2 of many blocks through the libcrypto that is part of the program or linked to it. It does not go through `bind`: a checked call for each
// block would cost a tenth of the hashing itself, so all blocks of a call are checked at once.
import koffi from 'koffi';

/** Hashes `count` blocks of 4096 bytes (or `length`) that follow each other from `from`; the hashes follow each other in `out` from `at`. */
export type HashBlocks = (bytes: Uint8Array, from: number, count: number, out: Uint8Array, at: number, length?: number) => void;

const BLOCK = 4096;
const CALLS = { sha256: { prefix: 'SHA256', hash: 32 }, sha512: { prefix: 'SHA512', hash: 64 } } as const;
/** Room for SHA256_CTX (112 bytes) or SHA512_CTX (216), openssl/sha.h. Calls do not overlap. */
const context = Buffer.allocUnsafeSlow(256);

type Call = (...values: number[]) => number;

/** A hasher of blocks that costs a twentieth more than the bare hash; undefined if the program has no such functions to call. */
export function loadBlockHasher(algorithm: 'sha256' | 'sha512'): HashBlocks | undefined {
  const { prefix, hash } = CALLS[algorithm];
  const calls = loadCalls(prefix);
  if (calls === undefined) return undefined;
  return (bytes, from, count, out, at, length = BLOCK) => {
    requireRange(bytes, from, count * length);
    requireRange(out, at, count * hash);
    if (count === 0) return;
    const contextAt = addressNumber(context);
    let block = addressNumber(bytes) + from;
    let result = addressNumber(out) + at;
    for (let index = 0; index < count; index += 1, block += length, result += hash) {
      calls.init(contextAt);
      calls.update(contextAt, block, length);
      calls.final(result, contextAt);
    }
  };
}

function loadCalls(prefix: string): { init: Call; update: Call; final: Call } | undefined {
  try {
    const program = koffi.load(null);
    // Addresses go as numbers: they are below 2^53, and a number is quicker to pass than a buffer.
    const load = (name: string, count: number): Call =>
      program.func(`${prefix}_${name}`, 'int', Array<string>(count).fill('uint64_t'));
    return { init: load('Init', 1), update: load('Update', 3), final: load('Final', 2) };
  } catch {
    return undefined;
  }
}

/** The same few buffers are used for file after file. */
const addresses = new WeakMap<Uint8Array, number>();

function addressNumber(bytes: Uint8Array): number {
  let address = addresses.get(bytes);
  if (address !== undefined) return address;
  // The bytes of a short array lie in the heap, where they move, until its buffer is asked for.
  if (bytes.buffer.byteLength < bytes.length) throw new TypeError('the buffer is detached');
  address = Number(koffi.address(bytes));
  addresses.set(bytes, address);
  return address;
}

function requireRange(bytes: Uint8Array, from: number, length: number): void {
  const fits =
    Number.isSafeInteger(from) && Number.isSafeInteger(length) && from >= 0 && length >= 0 && from + length <= bytes.length;
  if (!(bytes instanceof Uint8Array) || !fits) throw new RangeError('blocks outside their buffer');
}
