// systemd as an administrator has it, with no VM: the machine's own root below a layer that is thrown away, booted by systemd-nspawn. The kernel is the
// machine's, and so is the initial user namespace, in which the service has to be.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { eventually, readStatus } from '../support/daemon.js';
import { requirePrivileges, run } from '../support/machine.js';
import type { Outcome } from '../support/run-as.js';

export interface Container {
  /** A directory on the machine's disk, seen inside as /shared. */
  readonly shared: string;
  /** Runs a command inside, as root, at most 120 s. Does not throw for an exit status. */
  do(...command: string[]): Outcome;
  /** As `do`; throws unless it exits with 0. */
  output(...command: string[]): string;
  stop(): Promise<void>;
}

// What is enabled on the machine is not started: only this.
const TARGET = `[Unit]
Requires=basic.target
After=basic.target
Wants=dbus.socket
AllowIsolate=yes
`;
const MASKED = ['timers.target', 'systemd-networkd.service', 'systemd-timesyncd.service', 'systemd-resolved.service'];
/** systemd.special(7): SIGRTMIN+4 powers off; signal(7): SIGRTMIN is 34 for programs that use threads. */
const POWER_OFF = 34 + 4;
const BOOT_TIMEOUT = 60_000;

function prepareRoot(directory: string): string {
  const [root, upper, work] = ['root', 'upper', 'work'].map((name) => join(directory, name)) as [string, string, string];
  for (const path of [root, upper, work]) mkdirSync(path);
  run('mount', '-t', 'overlay', 'container', '-o', `lowerdir=/,upperdir=${upper},workdir=${work}`, root);
  const units = join(root, 'etc/systemd/system');
  writeFileSync(join(units, 'container-test.target'), TARGET);
  for (const unit of MASKED) {
    rmSync(join(units, unit), { force: true });
    symlinkSync('/dev/null', join(units, unit));
  }
  rmSync(join(root, 'usr/sbin/policy-rc.d'), { force: true }); // where packages may not start services
  rmSync(join(root, 'etc/machine-id'), { force: true });
  writeFileSync(join(root, 'etc/machine-id'), '0123456789abcdef0123456789abcdef\n');
  return root;
}

function descendantsOf(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

/** The process that is number 1 inside. */
function findInit(nspawn: number): number | undefined {
  return descendantsOf(nspawn).find((pid) => readStatus(pid, 'NSpid').endsWith('\t1'));
}

async function boot(root: string, shared: string): Promise<{ nspawn: ChildProcess; init: number }> {
  const flags = ['--quiet', '--register=no', '--keep-unit', '--private-network', '--capability=all', '--console=pipe'];
  const loops = readdirSync('/dev').filter((name) => /^loop(-control|\d+)$/.test(name));
  const devices = loops.map((name) => `--bind=/dev/${name}`);
  const places = [...devices, `--directory=${root}`, `--bind=${shared}:/shared`, '--machine=cfsmountd-test'];
  const words = [...flags, ...places, '--boot', 'systemd.unit=container-test.target'];
  const nspawn = spawn('systemd-nspawn', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [nspawn.stdout, nspawn.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  let init: number | undefined;
  await eventually(
    'the container is up',
    () => {
      if (nspawn.exitCode !== null) throw new Error(`systemd-nspawn ended with ${nspawn.exitCode}:\n${said}`);
      init ??= findInit(nspawn.pid!);
      return init !== undefined && enter(init, 'systemctl', 'is-active', 'container-test.target').status === 0;
    },
    BOOT_TIMEOUT,
  );
  return { nspawn, init: init! };
}

function enter(init: number, ...command: string[]): Outcome {
  const namespaces = ['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup', '--root'];
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive', SYSTEMD_PAGER: '' };
  const words = ['--target', String(init), ...namespaces, '--', 'env', '--chdir=/', ...command];
  const { status, stdout, stderr, error } = spawnSync('nsenter', words, { encoding: 'utf8', env, timeout: 120_000 });
  if (error) throw error;
  return { status, stdout, stderr };
}

export async function startContainer(): Promise<Container> {
  requirePrivileges();
  const directory = mkdtempSync(join(tmpdir(), 'cfsmountd-container-'));
  const shared = join(directory, 'shared');
  mkdirSync(shared, { mode: 0o755 });
  const root = prepareRoot(directory);
  const clean = (): void => {
    spawnSync('umount', ['--lazy', root]);
    rmSync(directory, { recursive: true, force: true });
  };
  let booted: Awaited<ReturnType<typeof boot>>;
  try {
    booted = await boot(root, shared);
  } catch (error) {
    clean();
    throw error;
  }
  const { nspawn, init } = booted;
  const ended = once(nspawn, 'exit');
  return {
    shared,
    do: (...command) => enter(init, ...command),
    output(...command) {
      const { status, stdout, stderr } = enter(init, ...command);
      if (status !== 0) throw new Error(`${command.join(' ')} exited with ${status}\n${stdout}${stderr}`);
      return stdout;
    },
    async stop() {
      process.kill(init, POWER_OFF);
      const late = setTimeout(() => nspawn.kill('SIGKILL'), 20_000);
      await ended;
      clearTimeout(late);
      clean();
    },
  };
}
