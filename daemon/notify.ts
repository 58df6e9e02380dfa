// The service manager's side: sd_notify(3).
import type { Fd } from '../core/kernel/fd.js';
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
