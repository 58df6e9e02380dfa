// A real dbus-daemon of the test's own, as closed as a system bus and with the service's policy file.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { eventually } from './daemon.js';
import { ROOT } from './machine.js';

export interface Bus {
  readonly address: string;
  readonly pid: number;
  /** A user database with the test's users in it. */
  readonly passwd: string;
  stop(): Promise<void>;
}

/** As system.conf of dbus-daemon has it: nothing may be owned or called unless a service's file says so. */
const config = (
  socket: string,
  serviceFiles: readonly string[],
): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path=${socket}</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
${serviceFiles.map((file) => `  <include>${file}</include>`).join('\n')}
</busconfig>
`;

/**
 * Starts the bus in a directory that everybody may enter. A bus takes nobody whom the user database does not know, and the users of the
 * tests are numbers only: it gets a view of /etc/passwd of its own that has them.
 */
export async function startBus(directory: string, uids: readonly number[] = [], includes: readonly string[] = []): Promise<Bus> {
  const socket = join(directory, 'bus');
  const file = join(directory, 'bus.conf');
  writeFileSync(file, config(socket, [join(ROOT, 'systemd/org.composefs.Mount1.conf'), ...includes]));
  const passwd = join(directory, 'passwd');
  const entries = uids.map((uid) => `test${uid}:x:${uid}:${uid}::/:/bin/false\n`);
  writeFileSync(passwd, readFileSync('/etc/passwd', 'utf8') + entries.join(''));
  const script = 'mount --bind "$1" /etc/passwd && exec dbus-daemon --config-file="$2" --nofork --nopidfile';
  const child = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', passwd, file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  let failure: Error | undefined;
  child.once('error', (error) => (failure = error));
  await eventually('the bus listens', () => {
    if (failure) throw failure;
    if (child.exitCode !== null) throw new Error(`dbus-daemon ended with ${child.exitCode}`);
    return existsSync(socket);
  });
  return {
    address: `unix:path=${socket}`,
    pid: child.pid!,
    passwd,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}
