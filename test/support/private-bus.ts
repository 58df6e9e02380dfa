// A message bus with limits as wide as they go, on which root may own the service's name and everybody may call it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { eventually } from './daemon.js';

export interface PrivateBus {
  readonly socket: string;
  readonly process: ChildProcess;
  stop(): Promise<void>;
}

// Limits as high as an administrator could set them: the daemon must not count on the bus to hold anybody back.
const CONFIG = (socket: string): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_type="method_call"/>
    <allow receive_sender="*"/>
  </policy>
  <policy user="root">
    <allow own="org.composefs.Mount1"/>
  </policy>
  <limit name="max_message_size">33554432</limit>
  <limit name="max_message_unix_fds">253</limit>
  <limit name="max_connections_per_user">1024</limit>
  <limit name="max_incoming_unix_fds">1024</limit>
  <limit name="max_outgoing_unix_fds">4096</limit>
</busconfig>
`;

export async function startPrivateBus(): Promise<PrivateBus> {
  const directory = mkdtempSync(join(tmpdir(), 'cfsmountd-bus-'));
  chmodSync(directory, 0o755);
  const socket = join(directory, 'bus');
  const config = join(directory, 'bus.conf');
  writeFileSync(config, CONFIG(socket));
  const child = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--nopidfile'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await eventually('the bus listens', () => existsSync(socket));
  chmodSync(socket, 0o666);
  return {
    socket,
    process: child,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
