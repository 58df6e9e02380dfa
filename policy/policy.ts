import type { ContentFacts } from '../core/image/content-facts.js';
import type { VerityDigest } from '../core/image/digest.js';

/** Where something was written: `file` as the caller named it, `line` from 1. */
export interface Source {
  readonly file: string;
  readonly line: number;
}

/** How the objects of a repository are held to their digests: by the kernel at each open, or by trust in who can write there. */
export type ObjectTrust = 'verity' | 'trusted';

export interface Repository {
  /** Absolute, without `..`, `.` or `//`, and without a slash at the end. */
  readonly path: string;
  readonly objects: ObjectTrust;
  readonly source: Source;
}

/** Whether a rule allows images that hold such things. */
export type Condition = 'allow' | 'deny';

export interface Rule {
  readonly name: string;
  readonly digests: ReadonlySet<VerityDigest>;
  /** Host ids. A caller matches by its uid or by one of its gids; null in both means everyone. */
  readonly uids: ReadonlySet<number> | null;
  readonly gids: ReadonlySet<number> | null;
  /** Restrictions added to ro and nodev. */
  readonly nosuid: boolean;
  readonly noexec: boolean;
  /** Device nodes. */
  readonly devices: Condition;
  /** Set-uid and set-gid files. */
  readonly setuid: Condition;
  /** Files with capabilities. */
  readonly fcaps: Condition;
  /** 'deny': only images in the canonical form of composefs are allowed. */
  readonly canonical: Condition;
  readonly source: Source;
}

/** What is in an image, as far as rules ask. */
export interface Contents extends ContentFacts {
  /** The bytes are the ones a writer makes of the tree. Undefined if nobody looked, which a rule that asks takes for no. */
  readonly canonical: boolean | undefined;
}

export interface Policy {
  readonly limits: { readonly mountsPerUser: number };
  readonly repositories: readonly Repository[];
  readonly rules: readonly Rule[];
}

/** Who asks, as the kernel told: host ids. */
export interface Caller {
  readonly uid: number;
  readonly gids: readonly number[];
}

/** Live mounts of one user when no file says otherwise. */
export const DEFAULT_MOUNTS_PER_USER = 256;
