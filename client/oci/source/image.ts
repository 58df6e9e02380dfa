// An image of a source: its manifest, its configuration, and where its layers are.
import type { ImageConfig, OciPlatform } from './blobs.js';

export interface SourceLayer {
  /** Of the tar archive, unpacked. */
  readonly diffId: string;
  /** Name of a file of the source. */
  readonly file: string;
  /** What a manifest says of that file; undefined where none does. */
  readonly blob: { readonly digest: string; readonly size: number } | undefined;
}

export interface SourceImage {
  /** Bytes as they are in the source. */
  readonly config: Buffer;
  readonly parsed: ImageConfig;
  /** Undefined where the source has none in the form of OCI. */
  readonly manifest: Buffer | undefined;
  /** From the bottom up. */
  readonly layers: readonly SourceLayer[];
}

/** An image of a source that has several. */
export interface Candidate {
  /** By which it can be chosen. */
  readonly names: readonly string[];
  /** Looked up when it is needed. Throws `RequestError`. */
  platform(): OciPlatform;
  /** Throws `RequestError` BadImage. */
  read(): SourceImage;
}
