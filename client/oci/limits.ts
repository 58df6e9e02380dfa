// How much an image may be. What comes from elsewhere must not fill the memory, nor keep the program busy for ever.

export interface OciLimits {
  /** Of a manifest, an index or a configuration. Registries take no more than 4 MiB, either. */
  readonly jsonBytes: number;
  /** Files of an archive that holds an image. */
  readonly members: number;
  readonly layers: number;
  /** Entries of all layers, with the directories that lead to them. */
  readonly entries: number;
  /** Names, targets, attributes and small files of all layers: what is held in memory besides the entries themselves. */
  readonly textBytes: number;
  /** Of all layers, unpacked: so much is always allowed, and beyond it `ratio` times the bytes that the layers have packed. */
  readonly unpackedBytes: number;
  readonly ratio: number;
}

export const OCI_LIMITS: OciLimits = {
  jsonBytes: 4 << 20,
  members: 65_536,
  layers: 256,
  entries: 1 << 20,
  textBytes: 256 << 20,
  unpackedBytes: 16 * 2 ** 30,
  ratio: 200,
};
