// Where an image comes from: files by name, in a directory or in an archive. Whoever wrote it is not trusted.
import type { Fd } from '../../../core/kernel/fd.js';

/** A range of an open file. Disposing it closes what was opened for it. */
export interface SourceFile extends Disposable {
  readonly file: Fd;
  readonly offset: number;
  readonly size: number;
}

export interface Source extends Disposable {
  /** What it is called in errors. */
  readonly path: string;
  /** Undefined if there is no file of that name. Throws `RequestError`. */
  open(name: string): SourceFile | undefined;
}
