// The service manager's side: sd_notify(3) and sd_listen_fds(3).
import { type Fd, isOpenNumber, OwnedFd } from '../core/kernel/fd.js';
import { sendDatagram } from '../core/kernel/socket.js';

/** Tells the service manager, if there is one; descriptors go with FDSTORE=1. */
export function notify(state: string, fds: readonly Fd[] = []): void {
  const path = process.env['NOTIFY_SOCKET'];
  if (path) sendDatagram(path.replace(/^@/, '\0'), Buffer.from(state), fds);
}

/** Sends WATCHDOG=1 twice in each interval the service manager asks for. */
export function startWatchdog(): NodeJS.Timeout | undefined {
  const microseconds = Number(process.env['WATCHDOG_USEC'] ?? 0);
  const forUs = process.env['WATCHDOG_PID'] === undefined || process.env['WATCHDOG_PID'] === String(process.pid);
  if (!(microseconds > 0) || !forUs) return undefined;
  const timer = setInterval(() => notify('WATCHDOG=1'), microseconds / 2000);
  timer.unref();
  return timer;
}

const FIRST_INHERITED = 3; // SD_LISTEN_FDS_START

export interface Inherited {
  readonly name: string;
  readonly fd: OwnedFd;
}

/** The descriptors passed in by the service manager, by name; one without a name is called "unknown", as systemd does. */
export function inheritedFds(): Inherited[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names } = process.env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete process.env[name];
  if (pid !== String(process.pid) || !/^[0-9]{1,3}$/.test(count ?? '')) return [];
  const labels = names?.split(':') ?? [];
  return Array.from({ length: Number(count) }, (_, i) => FIRST_INHERITED + i)
    .filter(isOpenNumber)
    .map((fd, i) => {
      using inherited = OwnedFd.adopt(fd); // not close-on-exec, as the duplicate is
      return { name: labels[i] || 'unknown', fd: inherited.duplicate() };
    });
}
