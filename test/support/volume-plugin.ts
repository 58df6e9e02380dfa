// The volume plugin of a user of a room, as somebody starts it by hand.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { eventually } from './daemon.js';
import { type Room, type RoomUser, writeOwn } from './podman.js';

export interface Plugin {
  readonly socket: string;
  stderr(): string;
  isRunning(): boolean;
  /** Its exit status. */
  ended(): Promise<number | null>;
  signal(name: 'TERM' | 'KILL'): void;
}

/** Tells podman of the plugin, as `cfsctl setup podman` does. */
export function configurePlugin(user: RoomUser): void {
  const text = `[engine]\nvolume_plugin_timeout = 60\n[engine.volume_plugins]\ncfs = "${pluginSocket(user)}"\n`;
  writeOwn(user, '.config/containers/containers.conf.d/50-cfs.conf', text);
}

export function pluginSocket(user: RoomUser): string {
  return join(user.home, 'run/cfsctl/volume.sock');
}

export async function startPlugin(room: Room, user: RoomUser): Promise<Plugin> {
  const pidFile = join(user.home, 'run/plugin.pid');
  rmSync(pidFile, { force: true });
  const script = `echo $$ >${pidFile}; exec cfsctl volume-plugin`;
  const [program, ...words] = room.command(user, ['podman', 'unshare', 'sh', '-c', script]);
  const child = spawn(program!, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const socket = pluginSocket(user);
  await eventually('the plugin answers', () => {
    if (!isRunning()) throw new Error(`the plugin ended with ${child.exitCode}: ${stderr}`);
    return existsSync(socket) && ask(room, user, '/Plugin.Activate', '').stdout.includes('VolumeDriver');
  });
  return {
    socket,
    stderr: () => stderr,
    isRunning,
    async ended() {
      await eventually('the plugin has ended', () => !isRunning());
      return child.exitCode;
    },
    signal(name) {
      room.output('root', ['kill', `-${name}`, readFileSync(pidFile, 'utf8').trim()]);
    },
  };
}

const CLIENT = `
const [socketPath, path, method] = process.argv.slice(1);
let body = '';
process.stdin.on('data', (chunk) => (body += chunk)).on('end', () => {
  const request = require('node:http').request({ socketPath, path, method }, (response) => {
    let text = '';
    response.on('data', (chunk) => (text += chunk)).on('end', () => console.log(response.statusCode, text.trim()));
  });
  request.on('error', (error) => { console.log('ERROR', error.code); });
  request.end(body);
});`;

/** One request to the plugin, by a program of the user's in podman's namespace (or somebody else's on the host): prints the status and the answer, or ERROR. */
export function ask(
  room: Room,
  user: RoomUser,
  path: string,
  body: string,
  options: { as?: 'root' | RoomUser; method?: string } = {},
) {
  const { as = user, method = 'POST' } = options;
  const words = ['node', '-e', CLIENT, '--', pluginSocket(user), path, method];
  return room.run(as, as === user ? ['podman', 'unshare', ...words] : words, { input: body });
}
