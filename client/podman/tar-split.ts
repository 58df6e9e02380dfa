// What lets podman give an archive back from the files it was unpacked to: tar-split data (github.com/vbatts/tar-split, tar/storage), one JSON object in a line, compressed.
import { gzipSync } from 'node:zlib';
import type { ByteString } from '../../core/image/bytes.js';

/** tar/storage/entry.go */
const FILE = 1;
const SEGMENT = 2;

/** Bytes of lines that are compressed at once: gzip files may be of several members, one behind the other. */
const MEMBER = 1 << 20;

export interface TarSplit {
  /** Bytes of the archive that are no file's: headers and padding. */
  addSegment(bytes: Uint8Array): void;
  /** `sum`: CRC-64/ISO of the payload; undefined for an entry without one. */
  addFile(path: ByteString, size: bigint, sum: Uint8Array | undefined): void;
  finish(): void;
}

/** `write` is given compressed bytes, in order. */
export function createTarSplit(write: (bytes: Uint8Array) => void): TarSplit {
  let position = 0;
  let waiting = '';
  const flush = (): void => {
    if (waiting !== '') write(gzipSync(waiting, { level: 6 }));
    waiting = '';
  };
  const add = (entry: object): void => {
    waiting += `${JSON.stringify({ ...entry, position })}\n`;
    position += 1;
    if (waiting.length >= MEMBER) flush();
  };
  return {
    addSegment: (bytes) => add({ type: SEGMENT, payload: Buffer.from(bytes).toString('base64') }),
    addFile: (path, size, sum) =>
      add({
        type: FILE,
        ...nameOf(path),
        ...(size === 0n ? {} : { size: Number(size) }),
        payload: sum === undefined ? null : Buffer.from(sum).toString('base64'),
      }),
    finish: flush,
  };
}

/** What is no UTF-8 goes by its bytes. */
function nameOf(path: ByteString): object {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString('utf8');
  return Buffer.from(text).equals(bytes) ? { name: text } : { name_raw: bytes.toString('base64') };
}
