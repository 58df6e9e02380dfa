// The guest as its administrator has it: the installed service, its two users, its journal.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

import { connect } from '../../client/index.js';
import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { eventually } from '../support/daemon.js';
import { run } from '../support/machine.js';
import { type Outcome, runAs } from '../support/run-as.js';

/** The guest's users (build-vm.sh). Each has 65536 subordinate ids, as adduser gives them. */
export const ALICE = 1000;
export const BOB = 1001;
const NAMES: Readonly<Record<number, string>> = { [ALICE]: 'alice', [BOB]: 'bob' };

export const becomes = (unit: string, state: string): Promise<void> =>
  eventually(`${unit} is ${state}`, () => stateOf(unit) === state);

export const stateOf = (unit: string): string => spawnSync('systemctl', ['is-active', unit], { encoding: 'utf8' }).stdout.trim();

export const show = (unit: string, property: string): string => run('systemctl', 'show', '--value', '-p', property, unit).trim();

/** The service's one policy file; a service that runs has read it when this returns. */
export function writePolicy(text: string): void {
  writeFileSync('/etc/cfsmountd/policy.d/vm.toml', text);
  if (stateOf('cfsmountd.service') === 'inactive') return; // it reads it when it is called
  using client = connect({ timeoutMs: 60_000 });
  client.reload(); // throws if the policy is refused; systemctl reload cannot tell
}

/** Installs the package with apt, which has no network. 2 is the newer revision. */
export function installPackage(revision: 1 | 2): void {
  const { status, stdout, stderr } = spawnSync('apt-get', ['install', '-y', `/tests/cfsmountd-${revision}.deb`], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  assert.equal(status, 0, `${stdout}${stderr}`);
}

const ROOM = 'mount -t tmpfs none /mnt && mkdir /mnt/m && ';

/** A shell script as a user, root of a namespace that `unshare` made, with a directory /mnt/m to mount at. */
export const inUnshare = (uid: number, script: string): Outcome =>
  runAs(uid, ['sh', '-ec', `${ROOM}${script}`], { within: ['unshare', '-U', '-r', '-m'], cwd: '/' });

/** The same in the namespaces that podman gives to the user. They outlive the command, so it takes its mounts down. */
export function inPodman(uid: number, script: string): Outcome {
  const words = [NAMES[uid]!, 'podman', 'unshare', 'sh', '-ec', `trap 'umount -l /mnt' EXIT; ${ROOM}${script}`];
  const { status, stdout, stderr } = spawnSync('as-user', words, { encoding: 'utf8', timeout: 120_000 });
  return { status, stdout, stderr };
}

/** First of the user's subordinate ids. */
export function subordinateOf(uid: number): number {
  return Number(new RegExp(`^${NAMES[uid]}:(\\d+):65536$`, 'm').exec(readFileSync('/etc/subuid', 'utf8'))![1]);
}

/** An actor in a user namespace such as podman's, without podman, which takes its time. */
export const manyIdsActor = (uid: number): Promise<Actor> =>
  startActor({ uid, namespace: 'many', subordinate: subordinateOf(uid) });

/** An actor in the user namespace that podman gives to the user: root there is the user, 1… are its subordinate ids. Its mounts end with it. */
export const podmanActor = (uid: number, options: Partial<ActorOptions> = {}): Promise<Actor> =>
  startActor({ uid, through: ['as-user', NAMES[uid]!, 'podman', 'unshare', 'unshare', '-m'], ...options });

export interface Audit {
  readonly verdict: string;
  readonly uid: number;
  readonly [field: string]: unknown;
}

/** Audit lines of this boot, oldest first. */
export function audits(): Audit[] {
  const lines = run('journalctl', '--no-pager', '-b', '-u', 'cfsmountd', '-o', 'cat').split('\n');
  return lines.filter((line) => line.includes('"audit":true')).map((line) => JSON.parse(line) as Audit);
}

/** Command lines of all processes of ours. */
export function ourProcesses(): string[] {
  const lines = run('ps', '-ww', '-e', '-o', 'args=').split('\n');
  return lines.filter((line) => /\/usr\/(lib|s?bin)\/cfsmountd|cfsmountd-park/.test(line));
}
