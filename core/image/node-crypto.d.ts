// This folder compiles without Node's types so that it cannot name a file, a process or a socket. Hashing is the one thing it needs from outside.
declare module 'node:crypto' {
  /** One-shot hash, Node >= 20.12. */
  export function hash(algorithm: 'sha256' | 'sha512', data: Uint8Array, outputEncoding: 'buffer'): Uint8Array;
}
