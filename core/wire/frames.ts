import { FIXED_BYTES, parseFraming } from './header.js';

export interface FrameSplitter {
  /** The messages this chunk completes, each in memory of its own. Throws `ProtocolError`; the stream is of no use after that. */
  push(chunk: Buffer): Buffer[];
  /** Bytes held of a message that is not complete. */
  readonly pendingBytes: number;
}

/** Cuts a stream into messages of at most `maxBytes`. A declared size above is refused from the first 16 bytes. */
export function createFrameSplitter(maxBytes: number): FrameSplitter {
  // One growing buffer, not a list of chunks: a peer that sends byte by byte costs as many bytes, not as many objects.
  let held = Buffer.alloc(FIXED_BYTES);
  let filled = 0;
  let size = 0;

  function hold(bytes: Buffer): void {
    const needed = filled + bytes.length;
    if (needed > held.length) {
      const grown = Buffer.alloc(Math.min(size, Math.max(needed, held.length * 2)));
      held.copy(grown, 0, 0, filled);
      held = grown;
    }
    bytes.copy(held, filled);
    filled = needed;
  }

  function pull(chunk: Buffer, at: number, target: number): number {
    const part = chunk.subarray(at, at + target - filled);
    hold(part);
    return at + part.length;
  }

  function release(): Buffer {
    const message = held.subarray(0, filled);
    held = Buffer.alloc(FIXED_BYTES);
    filled = 0;
    size = 0;
    return message;
  }

  function push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    for (let at = 0; at < chunk.length;) {
      if (size === 0) {
        at = pull(chunk, at, FIXED_BYTES);
        if (filled < FIXED_BYTES) break;
        size = parseFraming(held, maxBytes).size;
      }
      at = pull(chunk, at, size);
      if (filled === size) messages.push(release());
    }
    return messages;
  }

  return {
    push,
    get pendingBytes() {
      return filled;
    },
  };
}
