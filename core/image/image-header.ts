/** What the first bytes of an image say about it. */
export interface ImageHeader {
  readonly type: 'erofs' | 'composefs';
  /** The image has POSIX ACLs and must not be mounted with `noacl`. A plain EROFS image does not say; taken as true. */
  readonly hasAcl: boolean;
  /** Format version of a composefs image; absent for plain EROFS. */
  readonly composefsVersion?: 0 | 1;
  /** Bytes per block. */
  readonly blockSize: number;
}
