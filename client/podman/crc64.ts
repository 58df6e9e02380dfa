// CRC-64/ISO, as tar-split data has it of each file (Go's hash/crc64 with the ISO polynomial). In two halves of 32 bits: a BigInt for every byte would take a hundred times as long.

/** 0xD800000000000000 reflected, as in Go's hash/crc64. */
const POLYNOMIAL_HIGH = 0xd800_0000 | 0;

/** Table `k` moves a byte over `k` further zero bytes, so that eight bytes are taken at a time. */
const SLICES = 8;
const HIGH = new Int32Array(256 * SLICES);
const LOW = new Int32Array(256 * SLICES);

function fillTables(): void {
  for (let byte = 0; byte < 256; byte += 1) {
    let high = 0;
    let low = byte;
    for (let bit = 0; bit < 8; bit += 1) {
      const carried = low & 1;
      low = (low >>> 1) | (high << 31);
      high = (high >>> 1) ^ (carried === 1 ? POLYNOMIAL_HIGH : 0);
    }
    HIGH[byte] = high;
    LOW[byte] = low;
  }
  for (let at = 256; at < 256 * SLICES; at += 1) {
    const high = HIGH[at - 256] as number;
    const low = LOW[at - 256] as number;
    const first = low & 0xff;
    LOW[at] = ((low >>> 8) | (high << 24)) ^ (LOW[first] as number);
    HIGH[at] = (high >>> 8) ^ (HIGH[first] as number);
  }
}

fillTables();

export interface Crc64 {
  update(bytes: Uint8Array): void;
  /** Eight bytes, the highest first. */
  digest(): Buffer;
}

export function createCrc64(): Crc64 {
  let high = -1;
  let low = -1;
  return {
    update(bytes) {
      const { length } = bytes;
      const view = new DataView(bytes.buffer, bytes.byteOffset, length);
      const whole = length & ~7;
      let h = high;
      let l = low;
      let at = 0;
      for (; at < whole; at += 8) {
        const a = l ^ view.getInt32(at, true);
        const b = h ^ view.getInt32(at + 4, true);
        const i0 = 1792 + (a & 0xff);
        const i1 = 1536 + ((a >>> 8) & 0xff);
        const i2 = 1280 + ((a >>> 16) & 0xff);
        const i3 = 1024 + (a >>> 24);
        const i4 = 768 + (b & 0xff);
        const i5 = 512 + ((b >>> 8) & 0xff);
        const i6 = 256 + ((b >>> 16) & 0xff);
        const i7 = b >>> 24;
        l = LOW[i0]! ^ LOW[i1]! ^ LOW[i2]! ^ LOW[i3]! ^ LOW[i4]! ^ LOW[i5]! ^ LOW[i6]! ^ LOW[i7]!;
        h = HIGH[i0]! ^ HIGH[i1]! ^ HIGH[i2]! ^ HIGH[i3]! ^ HIGH[i4]! ^ HIGH[i5]! ^ HIGH[i6]! ^ HIGH[i7]!;
      }
      for (; at < length; at += 1) {
        const index = (l ^ bytes[at]!) & 0xff;
        l = ((l >>> 8) | (h << 24)) ^ LOW[index]!;
        h = (h >>> 8) ^ HIGH[index]!;
      }
      high = h;
      low = l;
    },
    digest() {
      const sum = Buffer.alloc(8);
      sum.writeInt32BE(~high, 0);
      sum.writeInt32BE(~low, 4);
      return sum;
    },
  };
}
