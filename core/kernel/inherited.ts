// sd_listen_fds(3): descriptors that the service manager passes in.
import { isOpenNumber, OwnedFd } from './fd.js';

const FIRST_INHERITED = 3; // SD_LISTEN_FDS_START

export interface Inherited {
  readonly name: string;
  readonly fd: OwnedFd;
}

/**
 * The descriptors passed in by the service manager, by name; one without a name is called "unknown", as systemd does. They count if they are
 * meant for one of the processes given: this one unless told.
 */
export function inheritedFds(pids: readonly number[] = [process.pid]): Inherited[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names } = process.env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete process.env[name];
  if (!pids.some((one) => pid === String(one)) || !/^[0-9]{1,3}$/.test(count ?? '')) return [];
  const labels = names?.split(':') ?? [];
  return Array.from({ length: Number(count) }, (_, i) => FIRST_INHERITED + i)
    .filter(isOpenNumber)
    .map((fd, i) => {
      using inherited = OwnedFd.adopt(fd); // not close-on-exec, as the duplicate is
      return { name: labels[i] || 'unknown', fd: inherited.duplicate() };
    });
}
