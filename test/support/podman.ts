// A room for rootless podman: mounts, processes and network of its own, users of its own with subordinate ids. Nothing of it is seen from outside, and nothing is left of it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { eventually } from './daemon.js';
import { DIST, PATIENCE, requirePrivileges } from './machine.js';
import type { Outcome } from './run-as.js';
import { makeScratch } from './scratch.js';

export interface RoomUser {
  readonly name: string;
  readonly uid: number;
  /** First of 65,536 subordinate ids: uid 1 of its containers is this one on the host. */
  readonly subordinate: number;
  /** On a real disk; podman's storage is `${home}/.local/share/containers/storage`. */
  readonly home: string;
}

export interface RunInRoom {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

export interface Room {
  /** Removed with the room. */
  readonly path: string;
  /** Give it to `startDaemon({ directory })`: inside the room it is /run/cfsmountd, so that the service's socket is at its default path. */
  readonly service: string;
  readonly users: readonly RoomUser[];
  /** Words that run a command in the room, as root or as a user of it: for spawn and for actors. */
  command(who: 'root' | RoomUser, words: readonly string[], env?: Readonly<Record<string, string>>): string[];
  /** Runs it to its end; does not throw for an exit status. At most 120 s, on a real machine. */
  run(who: 'root' | RoomUser, words: readonly string[], options?: RunInRoom): Outcome;
  /** As `run`, beside others. */
  runBeside(who: 'root' | RoomUser, words: readonly string[], options?: RunInRoom): Promise<Outcome>;
  /** What it prints; throws unless it exits with 0. */
  output(who: 'root' | RoomUser, words: readonly string[], options?: RunInRoom): string;
  /** Writes the user's storage.conf: `[storage]` with the overlay driver, then the lines given. */
  configureStorage(user: RoomUser, lines?: string): void;
  /** Ends every process in the room and removes it. */
  close(): Promise<void>;
}

const FIRST_UID = 4801;
const FIRST_SUBORDINATE = 2_000_000;
const IDS = 65_536;

// No network, no cgroups: this machine may have neither for users. The rest is podman as it comes.
const CONTAINERS_CONF = `[containers]
cgroups = "disabled"
netns = "none"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
`;

/**
 * $1: the scratch directory. /etc is an overlay whose changes are the room's; crun refuses the hybrid cgroup layout; podman's locks are in /dev/shm.
 * Its first process collects the children that others leave.
 */
const SETUP = `
mount --make-rshared /
mount -t tmpfs room "$1/private"
mkdir "$1"/private/{etc,etc-work}
mount -t overlay -o "lowerdir=/etc,upperdir=$1/private/etc,workdir=$1/private/etc-work" etc /etc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=1777 shm /dev/shm
mknod -m 666 "$1/private/fuse" c 10 229
mount --bind "$1/private/fuse" /dev/fuse
mount -t tmpfs -o mode=755 run /run
mkdir /run/cfsmountd
mount --bind "$1/service" /run/cfsmountd
cat "$1/passwd" >>/etc/passwd
cat "$1/group" >>/etc/group
cp "$1/subordinate" /etc/subuid
cp "$1/subordinate" /etc/subgid
mkdir -p /etc/containers
rm -f /etc/containers/storage.conf
cp "$1/containers.conf" /etc/containers/containers.conf
: >"$1/ready"
while :; do sleep 3600 & wait; done
`;

export async function openRoom(userCount = 1): Promise<Room> {
  requirePrivileges();
  requirePodman();
  const scratch = makeScratch();
  const at = (...names: string[]): string => join(scratch.path, ...names);
  const users = Array.from({ length: userCount }, (_, index) => makeUser(scratch.path, index));
  for (const name of ['private', 'service']) mkdirSync(at(name), { mode: 0o755 });
  const lines = (line: (user: RoomUser) => string): string => users.map((user) => `${line(user)}\n`).join('');
  writeFileSync(
    at('passwd'),
    lines(({ name, uid, home }) => `${name}:x:${uid}:${uid}::${home}:/bin/sh`),
  );
  writeFileSync(
    at('group'),
    lines(({ name, uid }) => `${name}:x:${uid}:`),
  );
  writeFileSync(
    at('subordinate'),
    lines(({ name, subordinate }) => `${name}:${subordinate}:${IDS}`),
  );
  writeFileSync(at('containers.conf'), CONTAINERS_CONF);
  const words = [
    '--mount',
    '--pid',
    '--net',
    '--fork',
    '--kill-child',
    '--mount-proc',
    'bash',
    '-euc',
    SETUP,
    'room',
    scratch.path,
  ];
  const holder = spawn('unshare', words, { stdio: ['ignore', 'ignore', 'pipe'] });
  const close = async (): Promise<void> => {
    if (holder.exitCode === null && holder.signalCode === null) {
      holder.kill('SIGKILL');
      await once(holder, 'exit');
    }
    await eventually('the processes of the room are gone', () => removed(scratch.remove));
  };
  try {
    await untilReady(holder, at('ready'));
  } catch (error) {
    await close();
    throw error;
  }
  const room = enter(holder.pid!, scratch.path);
  const configureStorage = (user: RoomUser, text = ''): void =>
    writeOwn(user, '.config/containers/storage.conf', `[storage]\ndriver = "overlay"\n${text}`);
  for (const user of users) configureStorage(user);
  return { path: scratch.path, service: at('service'), users, ...room, configureStorage, close };
}

function requirePodman(): void {
  for (const program of ['podman', 'newuidmap', 'crun'])
    if (spawnSync(program, ['--help'], { stdio: 'ignore' }).error !== undefined)
      throw new Error(`${program} is missing: run tools/install-deps test as root`);
}

function makeUser(directory: string, index: number): RoomUser {
  const name = `roomer${index}`;
  const uid = FIRST_UID + index;
  const home = join(directory, name);
  for (const [path, mode] of [
    [home, 0o755],
    [join(home, 'run'), 0o700],
    [join(home, 'tmp'), 0o700],
  ] as const) {
    mkdirSync(path);
    chmodSync(path, mode);
    chownSync(path, uid, uid);
  }
  return { name, uid, subordinate: FIRST_SUBORDINATE + index * IDS, home };
}

/** Writes a file below the user's home, as the user's own. */
export function writeOwn({ home, uid }: RoomUser, path: string, text: string): void {
  const parts = path.split('/');
  for (let depth = 1; depth < parts.length; depth += 1) {
    const directory = join(home, ...parts.slice(0, depth));
    if (existsSync(directory)) continue;
    mkdirSync(directory, { mode: 0o755 });
    chownSync(directory, uid, uid);
  }
  writeFileSync(join(home, path), text);
  chownSync(join(home, path), uid, uid);
}

/** What podman wants to find in a store without images; anybody may read it. */
export function makeEmptyStore(path: string): void {
  for (const name of ['overlay', 'overlay-images', 'overlay-layers']) mkdirSync(join(path, name), { recursive: true });
  for (const name of ['images', 'layers']) {
    writeFileSync(join(path, `overlay-${name}/${name}.json`), '[]');
    writeFileSync(join(path, `overlay-${name}/${name}.lock`), '');
  }
}

async function untilReady(holder: ChildProcess, ready: string): Promise<void> {
  let stderr = '';
  holder.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  await eventually('the room is ready', () => {
    if (holder.exitCode !== null) throw new Error(`no room for podman: ${stderr}`);
    return existsSync(ready);
  });
}

/** The last processes may still write. */
function removed(remove: () => void): boolean {
  try {
    remove();
    return true;
  } catch {
    return false;
  }
}

function enter(holder: number, path: string): Pick<Room, 'command' | 'run' | 'runBeside' | 'output'> {
  const first = readFileSync(`/proc/${holder}/task/${holder}/children`, 'latin1').trim();
  const command: Room['command'] = (who, words, env = {}) => {
    const directory = who === 'root' ? path : who.home;
    const identity = who === 'root' ? [] : ['setpriv', `--reuid=${who.uid}`, `--regid=${who.uid}`, '--clear-groups', '--'];
    const variables = Object.entries({ ...surroundings(who), ...env }).map(([name, value]) => `${name}=${value}`);
    const room = ['nsenter', '-t', first, '--mount', '--pid', '--net', `--wd=${directory}`, '--'];
    return [...room, ...identity, 'env', '-i', ...variables, ...words];
  };
  const run: Room['run'] = (who, words, { env, input } = {}) => {
    const [program, ...rest] = command(who, words, env);
    const options = { encoding: 'utf8', input: input ?? '', maxBuffer: 2 ** 26, timeout: 120_000 * PATIENCE } as const;
    const { status, stdout, stderr, error } = spawnSync(program!, rest, options);
    if (error) throw error;
    return { status, stdout, stderr };
  };
  return {
    command,
    run,
    async runBeside(who, words, { env } = {}) {
      const [program, ...rest] = command(who, words, env);
      const child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
      let [stdout, stderr] = ['', ''];
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      const [status] = (await once(child, 'close')) as [number | null];
      return { status, stdout, stderr };
    },
    output(who, words, options) {
      const { status, stdout, stderr } = run(who, words, options);
      if (status !== 0) throw new Error(`${words.join(' ')} exited with ${status}\n${stdout}${stderr}`);
      return stdout;
    },
  };
}

function surroundings(who: 'root' | RoomUser): Record<string, string> {
  const common = { PATH: `${DIST}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C.UTF-8' };
  if (who === 'root') return { ...common, HOME: '/root' };
  const { home, name } = who;
  return { ...common, HOME: home, USER: name, XDG_RUNTIME_DIR: join(home, 'run'), TMPDIR: join(home, 'tmp') };
}
