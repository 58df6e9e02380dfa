// A tar archive as a set of files: its headers are read once, its files where they are.
import { posix } from 'node:path';
import { FormatError } from '../../../core/image/format-error.js';
import type { OwnedFd } from '../../../core/kernel/fd.js';
import { readAt } from '../../../core/kernel/file.js';
import { statFd } from '../../../core/kernel/stat.js';
import { RequestError } from '../../../core/wire/errors.js';
import type { OciLimits } from '../limits.js';
import { createEntryAssembler } from '../tar/entry.js';
import { TAR_BLOCK } from '../tar/header.js';
import { splitTarPath } from '../tar/path.js';
import type { Source } from './source.js';

/** A file, or the name of another. */
type Member = { readonly offset: number; readonly size: number } | { readonly same: string };

/** Takes the descriptor, unless it throws. Throws `RequestError`. */
export function openArchive(path: string, file: OwnedFd, limits: OciLimits): Source {
  requirePlain(path, file);
  const members = inArchive(path, () => listMembers(file, limits));
  return {
    path,
    open(name) {
      const member = followLinks(members, name);
      return member && { file, ...member, [Symbol.dispose]: () => undefined };
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** Files are read where they are, which takes an archive that is not compressed as a whole. */
function requirePlain(path: string, file: OwnedFd): void {
  const start = Buffer.alloc(6);
  readAt(file, start, 0);
  const compressions = { gzip: '1f8b', zstd: '28b52ffd', xz: 'fd377a585a00', bzip2: '425a68' };
  for (const [name, magic] of Object.entries(compressions)) {
    if (!start.toString('hex').startsWith(magic)) continue;
    throw new RequestError('NotSupported', `${path} is compressed as a whole`, { hint: `unpack it first, with ${name} -d` });
  }
}

function inArchive<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadImage', `${path}: ${cause.message}`, {
      hint: 'SOURCE is what podman save or skopeo copy makes: an OCI layout, or an archive of one, or a docker-archive',
      cause,
    });
  }
}

/** Of names that come twice it is not told which is meant. Throws FormatError. */
function listMembers(file: OwnedFd, { members: most }: OciLimits): Map<string, Member> {
  const { size: end } = statFd(file);
  const assembler = createEntryAssembler();
  const members = new Map<string, Member>();
  for (let at = 0; at + TAR_BLOCK <= end;) {
    const following = assembler.takeHeader(readBytes(file, at, TAR_BLOCK));
    at += TAR_BLOCK;
    if (following.is === 'end') return members;
    const size = following.is === 'entry' ? following.entry.size : following.size;
    if (at + size > end) throw new FormatError('tar-truncated', 'the archive ends within an entry');
    if (following.is === 'extension') {
      assembler.takeExtension(readBytes(file, at, size));
    } else {
      const { kind, path, link } = following.entry;
      const name = splitTarPath(path).join('/');
      if (kind !== 'directory') {
        if (members.has(name)) throw new FormatError('member-twice', `the archive has two files ${name}`);
        if (kind === 'file') members.set(name, { offset: at, size });
        else if (kind === 'link') members.set(name, { same: splitTarPath(link).join('/') });
        else if (kind === 'symlink') members.set(name, { same: posix.join(posix.dirname(name), link) });
        else throw new FormatError('member-kind', `the archive has a ${kind}: ${name}`);
        if (members.size > most) throw new FormatError('too-many-members', `the archive has more than ${most} files`);
      }
    }
    at += Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  assembler.end();
  if (members.size === 0) throw new FormatError('tar-empty', 'there is no file in it');
  return members;
}

function readBytes(file: OwnedFd, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const count = readAt(file, bytes.subarray(done), offset + done);
    if (count === 0) throw new FormatError('tar-truncated', 'the archive became shorter while it was read');
    done += count;
  }
  return bytes;
}

/** Older archives have one layer at several places, as links within the archive. */
const MAX_LINKS = 4;

function followLinks(members: ReadonlyMap<string, Member>, name: string): { offset: number; size: number } | undefined {
  let member = members.get(name);
  for (let steps = 0; member !== undefined && 'same' in member && steps < MAX_LINKS; steps += 1)
    member = members.get(member.same);
  return member === undefined || 'same' in member ? undefined : member;
}
