import { FormatError } from './format-error.js';

/** An image that need not be in memory as a whole. */
export interface ImageSource {
  /** Bytes. */
  readonly size: number;
  /** Fills `target` with the bytes from `offset` on, all of which are inside the image. */
  read(target: Uint8Array, offset: number): void;
}

/** Checked reading of an image, little endian; offsets are bytes. Everything outside the image throws FormatError. */
export interface ImageBytes {
  readonly size: number;
  u8(at: number): number;
  u16(at: number): number;
  u32(at: number): number;
  /** The bytes [from, to), to be used before anything else is read. */
  slice(from: number, to: number): Uint8Array;
}

const WINDOW = 16_384;
/** 16 MiB: metadata of an image lies together, so that most of it is read once. */
const MAX_WINDOWS = 1024;

export function sourceOf(bytes: Uint8Array): ImageSource {
  return { size: bytes.length, read: (target, offset) => target.set(bytes.subarray(offset, offset + target.length)) };
}

/** Reads an image through windows of a bounded number, those used last. */
export function openImageBytes(source: ImageSource): ImageBytes {
  const windows = new Map<number, DataView<ArrayBuffer>>();
  const { size } = source;
  let index = -1;
  let view = new DataView(new ArrayBuffer(0));

  const load = (wanted: number): DataView<ArrayBuffer> => {
    const start = wanted * WINDOW;
    const bytes = new Uint8Array(Math.min(WINDOW, size - start));
    source.read(bytes, start);
    return new DataView(bytes.buffer);
  };
  /** Turns to the window that holds an offset, which is inside the image. */
  const turnTo = (at: number): number => {
    const wanted = Math.floor(at / WINDOW);
    if (wanted === index) return at - wanted * WINDOW;
    const found = windows.get(wanted) ?? load(wanted);
    windows.delete(wanted);
    windows.set(wanted, found);
    const oldest = windows.size > MAX_WINDOWS ? windows.keys().next().value : undefined;
    if (oldest !== undefined) windows.delete(oldest);
    index = wanted;
    view = found;
    return at - wanted * WINDOW;
  };
  const requireInside = (from: number, to: number): void => {
    if (!(from >= 0 && from <= to && to <= size)) throw new FormatError('bounds', 'something is outside the image');
  };
  const slice = (from: number, to: number): Uint8Array => {
    requireInside(from, to);
    const bytes = new Uint8Array(to - from);
    for (let at = from; at < to;) {
      const start = turnTo(at);
      const piece = new Uint8Array(view.buffer, start, Math.min(view.byteLength - start, to - at));
      bytes.set(piece, at - from);
      at += piece.length;
    }
    return bytes;
  };
  /** A number of `length` bytes that two windows share. */
  const split = (at: number, length: number): DataView => new DataView(slice(at, at + length).buffer);
  return {
    size,
    slice,
    u8(at) {
      requireInside(at, at + 1);
      const start = turnTo(at);
      return view.getUint8(start);
    },
    u16(at) {
      requireInside(at, at + 2);
      const start = turnTo(at);
      return start + 2 <= WINDOW ? view.getUint16(start, true) : split(at, 2).getUint16(0, true);
    },
    u32(at) {
      requireInside(at, at + 4);
      const start = turnTo(at);
      return start + 4 <= WINDOW ? view.getUint32(start, true) : split(at, 4).getUint32(0, true);
    },
  };
}
