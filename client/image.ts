// What IMAGE on the command line means.
import { statSync } from 'node:fs';
import { SyscallError } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openPath } from '../core/kernel/file.js';
import { RequestError } from '../core/wire/errors.js';

/** A file is opened by the client and passed; everything else is for the service to find. */
export function isPath(image: string): boolean {
  return image.includes('/');
}

/** Opens an image for reading. Throws `RequestError` BadRequest. */
export function openImageFile(path: string): OwnedFd {
  return orExplain(`the image ${path}`, NAME_HINT, () => {
    // To open a FIFO could block, and to open a device could do something.
    if (!statSync(path).isFile()) throw new RequestError('BadRequest', `the image ${path} is not a regular file`);
    return openPath(path, O_RDONLY);
  });
}

const NAME_HINT = 'what contains / is a path; for a name in a repository that contains one, add --name';

/** Object stores open for reading; disposing the list closes them. Throws `RequestError` BadRequest. */
export function openObjectStores(paths: readonly string[]): Disposable & { readonly fds: readonly OwnedFd[] } {
  const fds: OwnedFd[] = [];
  const close = (): void => fds.forEach((fd) => fd.close());
  try {
    // The service takes no O_PATH descriptor, which would prove no right to read.
    for (const path of paths) fds.push(orExplain(`--objects ${path}`, undefined, () => openPath(path, O_RDONLY | O_DIRECTORY)));
  } catch (error) {
    close();
    throw error;
  }
  return { fds, [Symbol.dispose]: close };
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
