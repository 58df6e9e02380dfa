// What IMAGE on the command line means.
import { existsSync, statSync } from 'node:fs';
import { MAX_SIGNATURE_BYTES } from '../core/image/verity-signature.js';
import { isErrno, SyscallError } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openBeneath, openPath, readAt } from '../core/kernel/file.js';
import { openTreeClone } from '../core/kernel/mount.js';
import { RequestError } from '../core/wire/errors.js';

/** A file is opened by the client and passed; everything else is for the service to find. */
export function isPath(image: string): boolean {
  return image.includes('/');
}

/** Opens an image for reading, which is to be passed to the service. Throws `RequestError` BadRequest. */
export function openImageFile(path: string): OwnedFd {
  return openRegularFile(path, NAME_HINT);
}

/** Opens a file for reading; the hint is for when there is none. Throws `RequestError` BadRequest. */
export function openRegularFile(path: string, missingHint: string | undefined, what = 'image'): OwnedFd {
  return orExplain(`the ${what} ${path}`, missingHint, () => {
    // To open a FIFO could block, and to open a device could do something.
    if (!statSync(path).isFile()) throw new RequestError('BadRequest', `the ${what} ${path} is not a regular file`);
    return openPath(path, O_RDONLY);
  });
}

/** A signature as the service takes it: of the file that is named, or else what lies beside an image given by path. Throws `RequestError` BadRequest. */
export function readSignatureOf(image: string, { byPath, signature }: { byPath: boolean; signature?: string | undefined }) {
  if (signature !== undefined) return readSignature(signature);
  const beside = `${image}${SIGNATURE_ENDING}`;
  return byPath && existsSync(beside) ? readSignature(beside) : undefined;
}

/** What `fsverity sign` is usually told to write, beside the file. */
export const SIGNATURE_ENDING = '.p7s';

export function readSignature(path: string): Uint8Array {
  using file = openRegularFile(path, undefined, 'signature');
  const bytes = Buffer.alloc(MAX_SIGNATURE_BYTES + 1);
  const length = readAt(file, bytes, 0);
  if (length > 0 && length <= MAX_SIGNATURE_BYTES) return bytes.subarray(0, length);
  throw new RequestError('BadRequest', `the signature ${path} has not 1 to ${MAX_SIGNATURE_BYTES} bytes`);
}

const NAME_HINT = 'what contains / is a path; for a name in a repository that contains one, add --name';

/**
 * Object stores open for reading, below detached copies of their mounts: the kernel lets the service use a directory of another mount
 * namespace as a layer only so. Keep the list until the service has answered; disposing it closes them. Throws `RequestError` BadRequest.
 */
export function openObjectStores(paths: readonly string[]): Disposable & { readonly fds: readonly OwnedFd[] } {
  const fds: OwnedFd[] = [];
  const trees: OwnedFd[] = [];
  const close = (): void => [...fds, ...trees].forEach((fd) => fd.close());
  try {
    for (const path of paths) {
      // The service takes no O_PATH descriptor, which would prove no right to read.
      const directory = orExplain(`--objects ${path}`, undefined, () => openPath(path, O_RDONLY | O_DIRECTORY));
      const tree = detach(directory);
      fds.push(tree ? openBeneath(tree, '.', O_RDONLY | O_DIRECTORY) : directory);
      if (!tree) continue;
      directory.close();
      trees.push(tree);
    }
  } catch (error) {
    close();
    throw error;
  }
  return { fds, [Symbol.dispose]: close };
}

/** A detached copy of the mount a directory is on; undefined where this process may not make one (no right to mount, mounts below). */
function detach(directory: OwnedFd): OwnedFd | undefined {
  try {
    return openTreeClone(directory);
  } catch (error) {
    if (isErrno(error, 'EPERM', 'EINVAL')) return undefined;
    throw error;
  }
}

function orExplain(what: string, missingHint: string | undefined, open: () => OwnedFd): OwnedFd {
  try {
    return open();
  } catch (cause) {
    const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
    if (cause instanceof RequestError || typeof code !== 'string') throw cause;
    throw new RequestError('BadRequest', `${what} cannot be opened (${code})`, {
      hint: code === 'ENOENT' ? missingHint : undefined,
      cause,
    });
  }
}
