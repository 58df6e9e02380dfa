// cfsctl oci import: the layers of an image become one composefs image of a repository, and its configuration is kept beside it.
import { FormatError } from '../../core/image/format-error.js';
import type { VerityDigest } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import { chooseVersion } from '../../core/image/version.js';
import { writeImage } from '../../core/image/writer.js';
import { O_DIRECTORY, O_RDONLY, openBeneath } from '../../core/kernel/file.js';
import { showProgress } from '../progress.js';
import { linkImage, setRef } from '../repository/links.js';
import { type Repository, atRepository } from '../repository/repository.js';
import { createFileHasher } from '../store/file-hasher.js';
import { type ObjectStore, type WrittenObjects, objectStoreIn } from '../store/object-store.js';
import { workerScript } from '../store/worker-script.js';
import { createBudget } from './budget.js';
import { createContents } from './contents.js';
import { createCover } from './layer/cover.js';
import { type FinishOptions, type Layer, applyLayer, finishTree } from './layer/merge.js';
import { readLayer } from './layer/read.js';
import { newLayerDirectory } from './layer/tree.js';
import type { OciLimits } from './limits.js';
import { composeManifest } from './manifest.js';
import { setOciRef } from './names.js';
import type { OciLayer, OciRecord } from './records.js';
import { badImage } from './source/blobs.js';
import type { SourceImage } from './source/image.js';
import { formatPlatform } from './source/platform.js';
import type { Source } from './source/source.js';
import { writeRecord } from './write-record.js';

export interface OciImported {
  readonly record: OciRecord;
  /** Objects that were not there before, the image among them. */
  readonly written: WrittenObjects;
}

/**
 * Adds the objects, the image, the record and at last the name. Whatever ends the program before, the repository is as good as it was. The repository must be locked
 * shared. Throws `RequestError`.
 */
export async function importOci(
  repository: Repository,
  source: Source,
  image: SourceImage,
  name: string,
  options: FinishOptions & { readonly limits: OciLimits },
): Promise<OciImported> {
  const { root, path, algorithm } = repository;
  const directory = atRepository(path, () => openBeneath(root, 'objects', O_RDONLY | O_DIRECTORY));
  using store = objectStoreIn(directory, `${path}/objects`, createFileHasher(algorithm));
  const { digest, layers, elsewhere } = await addImage(store, source, image, options);
  store.sync();
  const record = atRepository(path, () => {
    linkImage(root, digest);
    const manifest = image.manifest ?? composeManifest(image.config, layers);
    const { config, parsed } = image;
    const written = writeRecord(root, { config, manifest, image: digest, layers, platform: formatPlatform(parsed) });
    setRef(root, name, digest);
    setOciRef(root, name, written.id);
    return written;
  });
  const { objects, bytes } = store.written;
  return { record, written: { objects: objects + elsewhere.objects, bytes: bytes + elsewhere.bytes } };
}

interface AddedImage {
  readonly digest: VerityDigest;
  readonly layers: readonly OciLayer[];
  /** Written by other threads. */
  readonly elsewhere: WrittenObjects;
}

async function addImage(
  store: ObjectStore,
  source: Source,
  image: SourceImage,
  options: FinishOptions & { readonly limits: OciLimits },
): Promise<AddedImage> {
  const contents = createContents(store, workerScript());
  try {
    const read = await readLayers(source, image, contents, options.limits);
    const elsewhere = await contents.finish();
    const tree = orBadImage(source, () =>
      flatten(
        read.map(({ layer }) => layer),
        options,
      ),
    );
    const bytes = orBadImage(source, () => writeImage(tree, chooseVersion(tree)));
    const layers = read.map(({ size }, index) => ({ diffId: image.layers[index]?.diffId ?? '', size }));
    return { digest: store.addBytes(bytes), layers, elsewhere };
  } finally {
    await contents.close();
  }
}

/** From the top down, so that what upper layers hide need not be stored; the result is from the bottom up. */
async function readLayers(
  source: Source,
  image: SourceImage,
  contents: ReturnType<typeof createContents>,
  limits: OciLimits,
): Promise<{ readonly layer: Layer; readonly size: number }[]> {
  const packed = image.layers.reduce((sum, { file }) => sum + sizeOf(source, file), 0);
  const budget = createBudget(limits, packed);
  using progress = showProgress('importing', packed);
  const read: { layer: Layer; size: number }[] = [];
  const above = createCover();
  const wanted = new Set<string>();
  for (const layer of image.layers.toReversed()) {
    const done = await readLayer(source, layer, {
      budget,
      contents,
      wanted,
      advance: progress.advance,
      isCovered: above.hides,
    });
    read.unshift(done);
    above.add(done.layer.root);
  }
  return read;
}

function sizeOf(source: Source, file: string): number {
  using opened = source.open(file);
  return opened?.size ?? 0;
}

function flatten(layers: readonly Layer[], options: FinishOptions): Node {
  const base = newLayerDirectory();
  for (const layer of layers) applyLayer(base, layer);
  return finishTree(base, options);
}

function orBadImage<T>(source: Source, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw badImage(source, cause.message, undefined, cause);
  }
}
