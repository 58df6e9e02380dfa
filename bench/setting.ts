// What the parts of the benchmark stand on: a directory on disk, a repository of images, a daemon, a bus.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { createVerityHasher } from '../core/image/verity-hash.js';

/** Root of the checkout: this file is build/bench/setting.js when it runs. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const DIST = resolve(ROOT, process.env['CFSMOUNTD_DIST'] ?? 'dist');
const SAMPLE = join(resolve(ROOT, process.env['CFS_SHARED'] ?? '../shared'), 'sample');

/** Uids of this machine's users, without root: dbus-daemon sends away a uid that is nobody's. */
export function someUsers(count: number): number[] {
  const uids = readFileSync('/etc/passwd', 'utf8').match(/(?<=^[^:]*:[^:]*:)[1-9][0-9]*(?=:)/gm) ?? [];
  const distinct = [...new Set(uids.map(Number))].slice(0, count);
  if (distinct.length < count) throw new Error(`/etc/passwd has fewer than ${count} users beside root`);
  return distinct;
}

export interface Image {
  readonly name: string;
  readonly type: 'composefs' | 'erofs';
  readonly digest: string;
  readonly file: string;
}

/** Runs a command to its end; throws with its output unless it exits with 0. */
export function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${status}\n${stdout}${stderr}`);
  return stdout;
}

export async function until<T>(what: string, attempt: () => T | undefined, timeoutMs = 30_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const got = attempt();
    if (got !== undefined) return got;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await sleep(10);
  }
}

const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Has a process end with the benchmark, however that ends. */
export function tie(child: ChildProcess): ChildProcess {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** A directory of root's that everybody may enter. Not in /tmp, which may be a tmpfs: EROFS reads no file there but through a loop device. */
export function makeScratch(): { path: string; remove(): void } {
  const path = mkdtempSync('/var/tmp/cfsmountd-bench-');
  chmodSync(path, 0o755);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Repository {
  readonly path: string;
  readonly objects: string;
  readonly images: Image[];
  add(name: string, type: Image['type'], file: string): Image;
}

export function makeRepository(scratch: string): Repository {
  const path = join(scratch, 'repository');
  const images: Image[] = [];
  mkdirSync(join(path, 'images/refs'), { recursive: true });
  return {
    path,
    objects: join(path, 'objects'),
    images,
    add(name, type, source) {
      const hasher = createVerityHasher('sha256');
      hasher.update(readFileSync(source));
      const digest = hasher.digest();
      const hex = digest.slice('sha256:'.length);
      const object = join('objects', hex.slice(0, 2), hex.slice(2));
      const file = join(path, object);
      mkdirSync(dirname(file), { recursive: true });
      copyFileSync(source, file);
      chmodSync(file, 0o644);
      symlinkSync(join('..', object), join(path, 'images', hex));
      symlinkSync(`../${hex}`, join(path, 'images/refs', name));
      const image = { name, type, digest, file };
      images.push(image);
      return image;
    },
  };
}

/** A small plain EROFS image: what a mount costs does not depend on the size. */
export function addSmallErofs(repository: Repository, scratch: string): Image {
  const tree = join(scratch, 'small');
  mkdirSync(tree);
  writeFileSync(join(tree, 'hello.txt'), 'hello\n');
  run('mkfs.erofs', '--quiet', join(scratch, 'small.erofs'), tree);
  return repository.add('small', 'erofs', join(scratch, 'small.erofs'));
}

/** The composefs sample with its objects; undefined where it is not at hand. */
export function addSample(repository: Repository): Image | undefined {
  if (!existsSync(join(SAMPLE, 'sample.cfs'))) return undefined;
  run('tar', '-C', repository.path, '--no-same-owner', '-xzf', join(SAMPLE, 'objects.tar.gz'));
  run('chmod', '-R', 'u=rwX,go=rX', repository.path);
  return repository.add('sample', 'composefs', join(SAMPLE, 'sample.cfs'));
}

export const WITHOUT_SAMPLE = `no composefs sample in ${SAMPLE} (set CFS_SHARED): plain EROFS only`;

export interface Daemon {
  readonly pid: number;
  readonly address: string;
  stop(): Promise<void>;
}

/** Command line of a daemon with a socket, a policy that trusts the repository's images, and a state directory of its own. */
export function daemonCommand(scratch: string, { path, images }: Repository, bus = 'none'): { args: string[]; socket: string } {
  const home = mkdtempSync(join(scratch, 'daemon-'));
  chmodSync(home, 0o755);
  mkdirSync(join(home, 'policy.d'));
  const digests = images.map(({ digest }) => `"${digest}"`).join(', ');
  const repository = `[[repository]]\npath = "${path}"\nobjects = "trusted"\n`;
  writeFileSync(join(home, 'policy.d/bench.toml'), `${repository}[[rule]]\nname = "bench"\ndigests = [${digests}]\n`);
  const socket = join(home, 'socket');
  const places = ['--policy-dir', join(home, 'policy.d'), '--state-dir', join(home, 'state'), '--socket', socket];
  return { socket, args: [join(DIST, 'cfsmountd'), ...places, '--bus', bus] };
}

export async function startDaemon(scratch: string, repository: Repository, bus?: string): Promise<Daemon> {
  const { args, socket } = daemonCommand(scratch, repository, bus);
  // What it logs is written, as it would be in service, but to a file.
  const env = { PATH: process.env['PATH'], LOG: `${socket}.log` };
  const child = tie(spawn('/bin/sh', ['-c', 'exec "$0" "$@" 2> "$LOG"', ...args], { stdio: 'ignore', env }));
  await until('the daemon is ready', () => {
    const log = existsSync(`${socket}.log`) ? readFileSync(`${socket}.log`, 'utf8') : '';
    if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}: ${log}`);
    return log.includes('"msg":"ready"') || undefined;
  });
  return { pid: child.pid!, address: `unix:path=${socket}`, stop: () => end(child) };
}

export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

const BUS_CONFIG = (socket: string): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow eavesdrop="false"/>
  </policy>
</busconfig>
`;

/** A private message bus; undefined if there is no dbus-daemon on this machine. */
export async function startBus(scratch: string): Promise<{ address: string; stop(): Promise<void> } | undefined> {
  if (spawnSync('dbus-daemon', ['--version']).error) return undefined;
  const socket = join(scratch, 'bus');
  writeFileSync(`${socket}.conf`, BUS_CONFIG(socket));
  const child = tie(spawn('dbus-daemon', [`--config-file=${socket}.conf`, '--nofork', '--nopidfile'], { stdio: 'ignore' }));
  await until('the bus stands', () => existsSync(socket) || undefined);
  return { address: `unix:path=${socket}`, stop: () => end(child) };
}
