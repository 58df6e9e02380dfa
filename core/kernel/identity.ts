// Names of users and groups, through libc and so through NSS.
import { bindLookup } from './libc.js';

const passwd = { name: 'char *', password: 'char *', uid: 'uint32_t', gid: 'uint32_t' };
const group = { name: 'char *', password: 'char *', gid: 'uint32_t' };

const getpwnam = bindLookup<{ uid: number }>('getpwnam', passwd, 'str');
const getgrnam = bindLookup<{ gid: number }>('getgrnam', group, 'str');
const getpwuid = bindLookup<{ name: string }>('getpwuid', passwd, 'uint32_t');

export function uidOf(name: string): number | undefined {
  return getpwnam(name)?.uid;
}

export function gidOf(name: string): number | undefined {
  return getgrnam(name)?.gid;
}

export function nameOfUid(uid: number): string | undefined {
  return getpwuid(uid)?.name;
}
