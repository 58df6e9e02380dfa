import type { VerityDigest } from '../core/image/digest.js';

/** A mount that was handed out, or is about to be, and has not died. */
export interface LiveMount {
  readonly id: bigint;
  /** Host uid of the caller it was made for. */
  readonly uid: number;
  /** Host uid whose limit it counts against. */
  readonly payer: number;
  readonly digest: VerityDigest;
  readonly rule: string;
  /** Fingerprint of a certificate that had signed the digest, as far as somebody asked. */
  readonly signer?: string | undefined;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Inode number of the user namespace. */
  readonly userns: bigint;
  readonly type: 'composefs' | 'erofs';
}
