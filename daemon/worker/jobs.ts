// What the daemon asks of a worker thread. Descriptors travel as numbers: all threads of a process share one table.
// Those of a job stay open until the worker has answered, however late that is; those in its order's list it closes itself, at last.

import type { TreeFacts } from '../../core/image/facts.js';
import type { PathWay } from '../overlay.js';

/** Digest of a file's bytes, and a private copy of them if `copy` is there. Lengths in bytes. */
export interface HashJob {
  readonly kind: 'hash';
  readonly file: number;
  /** An empty file that takes the copy. */
  readonly copy: number | null;
  readonly size: number;
  readonly algorithm: 'sha256' | 'sha512';
}

/** What a caller's file is, asked where a file system that never answers does no harm. */
export interface InspectJob {
  readonly kind: 'inspect';
  readonly file: number;
}

/** What is in an image whose bytes are fixed. */
export interface FactsJob {
  readonly kind: 'facts';
  readonly file: number;
  readonly type: 'composefs' | 'erofs';
  /** Compare a composefs image with its canonical form, too: takes its whole tree in memory. */
  readonly canonical: boolean;
}

/** The objects that files of a composefs image need, and whether stores have them. */
export interface ObjectsJob {
  readonly kind: 'objects';
  readonly file: number;
  /** Directories, which may be on a caller's file system. */
  readonly stores: readonly number[];
}

/** A new staging namespace: tiny, owned by the initial user namespace, with one shared mount point. */
export interface NewStageJob {
  readonly kind: 'new-stage';
}

/** Takes hold of the parked namespace that the helper process stands in, which is its owner's ground already. */
export interface HoldJob {
  readonly kind: 'hold';
  readonly pid: number;
}

/** Carries a mount over into the parked namespace and back out of it as a detached mount with locked flags. */
export interface LockJob {
  readonly kind: 'lock';
  readonly mount: number;
  readonly staging: number;
  readonly stagingDirectory: number;
  readonly parked: number;
  readonly parkedDirectory: number;
  readonly name: string;
}

/** Joins detached layers to an overlay where the kernel takes only attached ones; see mountOverlayOfPaths. */
export interface JoinJob {
  readonly kind: 'join';
  readonly way: PathWay;
  readonly erofs: number;
  readonly objects: readonly number[];
  readonly name: string;
  readonly requireVerity: boolean;
  /** MOUNT_ATTR_* */
  readonly attributes: number;
}

/** Nothing but the closing of what goes with it: a caller's descriptor may take its time, or never close at all. */
export interface CloseJob {
  readonly kind: 'close';
}

export type Job = HashJob | InspectJob | FactsJob | ObjectsJob | NewStageJob | HoldJob | JoinJob | LockJob | CloseJob;

/** What is sent to a thread: a job and the numbers it closes after it, or that it shall end. */
export type Order = { readonly job: Job; readonly close: readonly number[] } | 'end';

export interface InspectResult {
  /** statfs f_type */
  readonly magic: number;
  readonly verity: 'enabled' | 'disabled' | 'unsupported';
  readonly algorithm?: 'sha256' | 'sha512';
  /** hex */
  readonly digest?: string;
}

/** What rules judge. Where files of a composefs image point is told by `unpinned`, `misdirected` and `escaping`, which are 0 for plain EROFS. */
export interface FoundFacts extends TreeFacts {
  /** Undefined if it was not asked for. */
  readonly canonical: boolean | undefined;
}

export interface FoundObjects {
  /** Different objects. */
  readonly objects: number;
  /** Of them, those that no store has. */
  readonly missing: number;
}

/** That a reader refuses an image follows from its bytes, like its facts: it is an answer, not a failure. */
export interface Refusal {
  readonly refused: string;
}

export interface Results {
  readonly hash: { readonly digest: string };
  readonly inspect: InspectResult;
  readonly facts: FoundFacts | Refusal;
  readonly objects: FoundObjects | Refusal;
  /** Numbers of the namespace descriptor and of an O_PATH descriptor of its mount point: given to the daemon. */
  readonly 'new-stage': { readonly namespace: number; readonly directory: number };
  readonly hold: { readonly namespace: number; readonly directory: number };
  /** Number of the detached overlay: given to the daemon. */
  readonly join: { readonly mount: number };
  /** Number of the locked, detached mount: given to the daemon. */
  readonly lock: { readonly mount: number };
  readonly close: Record<string, never>;
}

/** A failure, in a form that survives postMessage. */
export interface JobFailure {
  readonly message: string;
  readonly syscall?: string;
  readonly errno?: number;
  /** What the kernel said in the log of an fs context. */
  readonly log?: readonly string[];
}

export type Answer =
  | { readonly ok: Results[keyof Results] }
  | { readonly failure: JobFailure }
  | { readonly ready: true }
  /** Everything that follows an answer is over: the thread is free, and uses no number any more. `grown`: its heap will not shrink by itself. */
  | { readonly done: true; readonly grown: boolean };
