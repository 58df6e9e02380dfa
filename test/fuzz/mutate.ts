import type { Random } from './random.js';

/** Values at which off-by-one faults and overflows show. */
const NUMBERS = [
  0, 1, 2, 3, 4, 11, 12, 13, 31, 32, 35, 36, 37, 255, 256, 4095, 4096, 4097, 5000, 5001, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff,
];
const WORDS = [
  '\\x00',
  '\\x',
  '\\',
  ' ',
  '  ',
  '\n',
  '\n\n',
  '-',
  '@',
  '/',
  '//',
  '/.',
  '=',
  ' k=v',
  '0',
  '.',
  '4294967296',
  '18446744073709551616',
  '\0',
  '\xff',
];

/** Damages a copy of an image in one to eight places, mostly where it is not zero; its size stays or changes by whole blocks. */
export function mutateImage(original: Uint8Array, random: Random): Uint8Array {
  let bytes: Uint8Array = original.slice();
  for (let edits = 1 + random.below(random.below(4) === 0 ? 8 : 2); edits > 0; edits -= 1) bytes = editImage(bytes, random);
  return bytes;
}

function editImage(bytes: Uint8Array, random: Random): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = interestingOffset(bytes, random);
  const number = NUMBERS[random.below(NUMBERS.length)] ?? 0;
  switch (random.below(9)) {
    case 0:
      view.setUint8(at, view.getUint8(at) ^ (1 << random.below(8)));
      break;
    case 1:
      view.setUint8(at, random.below(256));
      break;
    case 2:
      if (at + 2 <= bytes.length) view.setUint16(at & ~1, number & 0xffff, true);
      break;
    case 3:
      if ((at & ~3) + 4 <= bytes.length) view.setUint32(at & ~3, number, true);
      break;
    case 4:
      if ((at & ~3) + 4 <= bytes.length) view.setUint32(at & ~3, view.getUint32(at & ~3, true) + random.below(5) - 2, true);
      break;
    case 5:
      bytes.copyWithin(at, interestingOffset(bytes, random), bytes.length - random.below(64));
      break;
    case 6: {
      const from = interestingOffset(bytes, random) & ~31;
      bytes.copyWithin(at & ~31, from, Math.min(from + 32 * (1 + random.below(3)), bytes.length));
      break;
    }
    case 7:
      bytes.fill(random.below(2) * 0xff, at, at + 1 + random.below(64));
      break;
    default:
      return random.below(8) === 0 ? resizeImage(bytes, random) : bytes;
  }
  return bytes;
}

/** Cuts or lengthens an image, with the block count of its superblock kept right or not. */
function resizeImage(bytes: Uint8Array, random: Random): Uint8Array {
  const size = Math.max(0, bytes.length + (random.below(5) - 2) * 4096 + (random.below(4) === 0 ? random.below(4096) : 0));
  const resized = new Uint8Array(size);
  resized.set(bytes.subarray(0, Math.min(size, bytes.length)));
  if (random.below(4) > 0 && size >= 2048) new DataView(resized.buffer).setUint32(1024 + 36, Math.floor(size / 4096), true);
  return resized;
}

function interestingOffset(bytes: Uint8Array, random: Random): number {
  const length = Math.max(bytes.length, 1);
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const at = random.below(4) === 0 ? 1024 + random.below(1024) : random.below(length);
    if (at < length && bytes[at] !== 0) return at;
  }
  return random.below(length);
}

/** Damages a copy of a dump in one to four places. */
export function mutateDump(original: Uint8Array, random: Random): Uint8Array {
  let bytes = original;
  for (let edits = 1 + random.below(4); edits > 0; edits -= 1) bytes = editDump(bytes, random);
  return bytes;
}

function editDump(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  const end = Math.min(at + random.below(random.below(4) === 0 ? 200 : 4), bytes.length);
  const word = WORDS[random.below(WORDS.length)] ?? '';
  const other = random.below(bytes.length + 1);
  switch (random.below(5)) {
    case 0:
      return splice(bytes, at, end, Uint8Array.of(random.below(256)));
    case 1:
      return splice(bytes, at, end, new Uint8Array());
    case 2:
      return splice(
        bytes,
        at,
        at,
        Uint8Array.from(word, (character) => character.charCodeAt(0)),
      );
    case 3:
      return splice(
        bytes,
        at,
        end,
        Uint8Array.from(word, (character) => character.charCodeAt(0)),
      );
    default:
      return splice(bytes, at, at, bytes.subarray(other, other + random.below(120)));
  }
}

function splice(bytes: Uint8Array, from: number, to: number, put: Uint8Array): Uint8Array {
  const result = new Uint8Array(bytes.length - (to - from) + put.length);
  result.set(bytes.subarray(0, from));
  result.set(put, from);
  result.set(bytes.subarray(to), from + put.length);
  return result;
}
