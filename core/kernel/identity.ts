// Names of users and groups, through libc and so through NSS.
import { bind, bindLookup } from './libc.js';

const passwd = { name: 'char *', password: 'char *', uid: 'uint32_t', gid: 'uint32_t' };
const group = { name: 'char *', password: 'char *', gid: 'uint32_t' };

const getpwnam = bindLookup<{ uid: number }>('getpwnam', passwd, 'str');
const getgrnam = bindLookup<{ gid: number }>('getgrnam', group, 'str');
const getgrgid = bindLookup<{ name: string }>('getgrgid', group, 'uint32_t');
const getpwuid = bindLookup<{ name: string; gid: number }>('getpwuid', passwd, 'uint32_t');
const getgrouplist = bind('getgrouplist', ['path', 'u32', 'buffer', 'buffer']);

const MAX_GROUPS = 65_536; // linux/limits.h NGROUPS_MAX

export function uidOf(name: string): number | undefined {
  return getpwnam(name)?.uid;
}

export function gidOf(name: string): number | undefined {
  return getgrnam(name)?.gid;
}

export function nameOfUid(uid: number): string | undefined {
  return getpwuid(uid)?.name;
}

export function nameOfGid(gid: number): string | undefined {
  return getgrgid(gid)?.name;
}

/** The groups a user is in by the databases of this host, as a login would give them; none for a user it does not know. */
export function groupsOf(uid: number): number[] {
  const user = getpwuid(uid);
  if (user === null) return [];
  const gids = Buffer.alloc(4 * MAX_GROUPS);
  const count = Buffer.alloc(4);
  count.writeInt32LE(MAX_GROUPS);
  getgrouplist(user.name, user.gid, gids, count);
  return Array.from({ length: count.readInt32LE() }, (_, index) => gids.readUInt32LE(4 * index));
}
