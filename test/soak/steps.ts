/** c connects, m asks for a mount, r received it, a attached it, u unmounted it; e was busy for a moment; k may be killed from here on. */
export type Step = 'c' | 'm' | 'r' | 'a' | 'u' | 'e' | 'k';

export interface ClientTask {
  readonly address: string;
  /** Digests of the images in the repository. */
  readonly composefs: string;
  readonly erofs: string;
  /** The plain image as the caller's own file. */
  readonly file: string;
  /** A file in each image. */
  readonly probe: string;
  /** Whole rounds; if `fatal`, one more that is not survived. */
  readonly rounds: number;
  readonly fatal: boolean;
  readonly seed: number;
}
