import type { ContentFacts } from '../core/image/content-facts.js';
import type { VerityDigest } from '../core/image/digest.js';
import type { DigestList } from './digest-list.js';
import type { Source } from './problem.js';

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

/** A rule for images with a valid signature by a certificate in force. */
export interface SignatureCondition {
  /** SHA-256 fingerprints of certificates, lower-case hex; null for any certificate in force. */
  readonly signers: ReadonlySet<string> | null;
}

/** A rule for images that the service finds by a name in a repository which only root can write. */
export interface NameCondition {
  readonly path: string;
  /** Patterns, one of which has to match; null for any name. */
  readonly names: readonly string[] | null;
}

export interface Rule {
  readonly name: string;
  /** Such a rule wins over any that allows, and has none of the conditions a caller could get around. */
  readonly deny: boolean;
  /** An image matches if its digest is in one of these two; where both are empty, whatever its digest is. */
  readonly digests: ReadonlySet<VerityDigest>;
  readonly list: DigestList | null;
  readonly repository: NameCondition | null;
  readonly signature: SignatureCondition | null;
  /** Host ids. A caller matches by its uid or by one of its gids; null in both means everyone. */
  readonly uids: ReadonlySet<number> | null;
  readonly gids: ReadonlySet<number> | null;
  /** In force from and up to these moments, both included: milliseconds since 1970. */
  readonly notBefore: number | null;
  readonly notAfter: number | null;
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
  /** Most names in an image, and most bytes of its file. */
  readonly maxEntries: number | null;
  readonly maxSize: number | null;
  /** Id of the polkit action that has to be granted, too. */
  readonly polkit: string | null;
  readonly source: Source;
}

/** What is in an image, as far as rules ask. */
export interface Contents extends ContentFacts {
  /** The bytes are the ones a writer makes of the tree. Undefined if nobody looked, which a rule that asks takes for no. */
  readonly canonical: boolean | undefined;
  /** Bytes of the image file. */
  readonly size: number;
}

/** An image as far as it is known before it is read. */
export interface KnownImage {
  readonly digest: VerityDigest;
  /** Where the service itself found it by name. Absent for an image named by digest or handed in: what a caller calls its file counts for nothing. */
  readonly found?: FoundName | undefined;
  /** Fingerprints of the certificates in force whose signature over the digest was verified; absent for none. */
  readonly signedBy?: readonly string[];
  /** Why there is none, if there was a signature to look at. */
  readonly signatureProblem?: string;
}

export interface FoundName {
  readonly repository: string;
  readonly name: string;
}

export interface JudgedImage extends KnownImage {
  readonly contents: Contents;
}

export interface Limits {
  /** Live mounts of one user. */
  readonly mountsPerUser: number;
  /** Mounts that one user gets within 60 seconds; null for no limit. */
  readonly mountsPerMinute: number | null;
  /** Live mounts of all users together; null for no limit. */
  readonly mountsTotal: number | null;
}

export interface Policy {
  readonly limits: Limits;
  readonly repositories: readonly Repository[];
  readonly rules: readonly Rule[];
}

/** Who asks, as the kernel told: host ids. */
export interface Caller {
  readonly uid: number;
  readonly gids: readonly number[];
  /** Who it is besides, for rules that deny: in a user namespace of its own a user sheds groups and takes on subordinate ids. */
  readonly behind?: Pick<Caller, 'uid' | 'gids'>;
}

/** When no file says otherwise. */
export const DEFAULT_LIMITS: Limits = { mountsPerUser: 256, mountsPerMinute: null, mountsTotal: null };
