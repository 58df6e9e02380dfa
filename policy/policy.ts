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

export interface Rule {
  readonly name: string;
  readonly digests: ReadonlySet<VerityDigest>;
  /** Host ids. A caller matches by its uid or by one of its gids; null in both means everyone. */
  readonly uids: ReadonlySet<number> | null;
  readonly gids: ReadonlySet<number> | null;
  /** Restrictions added to ro and nodev. */
  readonly nosuid: boolean;
  readonly noexec: boolean;
  readonly source: Source;
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
