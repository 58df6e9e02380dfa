// Opens what an image comes from.
import type { OwnedFd } from '../../../core/kernel/fd.js';
import { O_NONBLOCK, O_RDONLY, openFileBeneath, openPath } from '../../../core/kernel/file.js';
import { isErrno } from '../../../core/kernel/error.js';
import { statFd } from '../../../core/kernel/stat.js';
import { RequestError } from '../../../core/wire/errors.js';
import { atPath, orCannotOpen } from '../../store/path-error.js';
import type { OciLimits } from '../limits.js';
import { openArchive } from './archive.js';
import type { Source } from './source.js';

/** Opens a directory or an archive. Throws `RequestError`. */
export function openSource(path: string, limits: OciLimits): Source {
  if (path === '-')
    throw new RequestError('NotSupported', 'an image cannot be read from standard input', { hint: 'save it to a file first' });
  const opened = orCannotOpen(path, () => openPath(path, O_RDONLY | O_NONBLOCK));
  try {
    const { type } = statFd(opened);
    if (type === 'directory') return directorySource(path, opened);
    if (type === 'file') return openArchive(path, opened, limits);
    throw new RequestError('BadRequest', `${path} is neither a directory nor a file`);
  } catch (error) {
    opened.close();
    throw error;
  }
}

function directorySource(path: string, directory: OwnedFd): Source {
  return {
    path,
    open(name) {
      const file = atPath(Buffer.from(`${path}/${name}`).toString('latin1'), () => {
        try {
          return openFileBeneath(directory, name);
        } catch (error) {
          if (isErrno(error, 'ENOENT')) return undefined;
          if (isErrno(error, 'ELOOP', 'EXDEV'))
            throw new RequestError('BadRequest', `${path}/${name} is reached by a link, which is not followed`);
          throw error;
        }
      });
      if (file === undefined) return undefined;
      const { type, size } = statFd(file);
      if (type === 'file') return { file, offset: 0, size, [Symbol.dispose]: () => file.close() };
      file.close();
      throw new RequestError('BadRequest', `${path}/${name} is not a regular file`);
    },
    [Symbol.dispose]: () => directory.close(),
  };
}
