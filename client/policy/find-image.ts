// What IMAGE means to the policy: its digest, the name it is found by, and what is in it as far as there is a file to read.
import { isCanonicalOf } from '../../core/image/canonical.js';
import type { VerityDigest } from '../../core/image/digest.js';
import { parseVerityDigest } from '../../core/image/digest.js';
import { readErofsFacts } from '../../core/image/erofs-facts.js';
import { factsOf } from '../../core/image/facts.js';
import { FormatError } from '../../core/image/format-error.js';
import { isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openPath } from '../../core/kernel/file.js';
import { verifySignature } from '../../core/signature/verify.js';
import { RequestError } from '../../core/wire/errors.js';
import type { Contents, KnownImage, Repository } from '../../policy/policy.js';
import { readSignatureOf } from '../image.js';
import { hashFile } from '../inspect/hash-file.js';
import { type OpenedImage, openAnyImage, readAnyImage, readComposefs, readPart } from '../inspect/read-image.js';
import { REFS, digestOfRef, openStoredImage, readLink } from '../repository/entries.js';
import { requireName } from '../repository/find-image.js';
import { readServiceKeys } from '../sign/service-keys.js';

/** An image as the policy may judge it; `contents` undefined where there is no file to read. */
export type AskedImage = KnownImage & { readonly contents?: Contents };

/** One for each digest the image has: a file has one by either algorithm. No name starts with a dot or a slash, and each path has to. Throws `RequestError`. */
export function findAskedImages(image: string, repositories: readonly Pick<Repository, 'path'>[]): AskedImage[] {
  if (image.includes(':')) return [{ digest: orBadRequest(() => parseVerityDigest(image)) }];
  if (!/^[./]/.test(image)) return [findByName(requireName(image), repositories)];
  using file = openAnyImage(image);
  const { digests } = hashFile(file.file, ['sha256', 'sha512']);
  const contents = readContents(file);
  const signature = readSignatureOf(image, { byPath: true });
  return [digests.sha256, digests.sha512].map((digest) => ({ digest, contents, ...signersOf(digest, signature) }));
}

/** Who signed it, by the service's certificates. */
function signersOf(digest: VerityDigest, signature: Uint8Array | undefined): Pick<KnownImage, 'signedBy' | 'signatureProblem'> {
  if (signature === undefined) return {};
  try {
    return { signedBy: [verifySignature(signature, digest, readServiceKeys(), Date.now()).fingerprint] };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { signatureProblem: error.message };
  }
}

/** The digest of IMAGE alone, for a rule to name. */
export function findDigest(image: string, repositories: readonly Pick<Repository, 'path'>[]): VerityDigest {
  return findAskedImages(image, repositories)[0]!.digest;
}

function findByName(name: string, repositories: readonly Pick<Repository, 'path'>[]): AskedImage {
  for (const { path } of repositories) {
    using root = openRepository(path);
    const digest = root && digestOfRef({ path: name, target: readLink(root, `${REFS}/${name}`) });
    const file = digest && openStoredImage(root, digest);
    if (!digest || !file) continue;
    using image = readAnyImage(name, file);
    return { digest, found: { repository: path, name }, contents: readContents(image) };
  }
  throw new RequestError('NoSuchImage', `no repository has an image ${name}`, {
    hint: 'the path of a file starts with / or ./; a repository of its own is named with --repo or in the policy',
  });
}

function openRepository(path: string): OwnedFd | undefined {
  try {
    return openPath(path, O_RDONLY | O_DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

function readContents(image: OpenedImage): Contents {
  const { size, file, header, path } = image;
  if (header.type === 'composefs') {
    const read = readComposefs(image);
    const { objects: _, ...facts } = factsOf(read.root);
    return { ...facts, canonical: isCanonicalOf(read.bytes, read), size };
  }
  const read = (target: Uint8Array, offset: number): void => target.set(readPart(file, offset, target.length));
  try {
    return { ...readErofsFacts({ size, read }), canonical: false, size };
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadImage', `${path}: ${cause.message}`, { cause });
  }
}

function orBadRequest<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', cause.message, { cause });
  }
}
