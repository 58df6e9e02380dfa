// Row 30: every error that can be had by calling wrongly. Needed: one place turns errors into replies and lets only those through that were
// written for callers (dispatch.ts, asReply); a check tells only root which rules were considered (methods/check.ts).
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfFile, makeErofs } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { makeScratch } from '../support/scratch.js';
import { injectFault } from '../support/strace.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const foreign = join(scratch.path, 'foreign.erofs');
const bad = join(scratch.path, 'bad.erofs');
const repository = join(scratch.path, 'hidden-repository');
const STRANGER = 4759;
let daemon: Daemon;
let actor: Actor;
let stranger: Actor;
let foreignDigest: string;

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  foreignDigest = makeErofs(foreign, { 'secret.txt': 'not yours\n' });
  writeFileSync(bad, Buffer.alloc(8192, 0x41));
  addToRepository(repository, image, 'ours');
  addToRepository(repository, foreign, 'theirs');
  const rule = (name: string, digests: string[], uid: number): string =>
    `[[rule]]\nname = "${name}"\ndigests = [${digests.map((text) => `"${text}"`).join(', ')}]\nusers = [${uid}]\n`;
  const policy = [
    `[[repository]]\npath = "${repository}"\nobjects = "trusted"\n`,
    rule('rule-of-ours', [digest, digestOfFile(bad)], 4760),
    rule('rule-of-others', [foreignDigest], 4799),
  ].join('\n');
  daemon = await startDaemon({ policy });
  actor = await startActor({ uid: 4760 });
  stranger = await startActor({ uid: STRANGER });
});
after(async () => {
  await actor?.stop();
  await stranger?.stop();
  await daemon?.kill();
  scratch.remove();
});

interface Ask {
  readonly address: string;
  readonly socket: string;
  readonly images: readonly string[];
  readonly digest: string;
}

/** Calls wrongly in every way there is; returns what came back, whole, errors and reports. */
function provoke({ client, file, fs, raw, codec, variants }: Kit, { address, socket, images, digest }: Ask): string[] {
  const said: string[] = [];
  const attempt = (call: (connection: ReturnType<typeof client.connect>) => unknown): void => {
    const connection = client.connect({ address });
    try {
      said.push(
        JSON.stringify(call(connection) ?? null, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
      );
    } catch (error) {
      const { message, hint } = error as { message: string; hint?: string };
      said.push(`${message}\n${hint ?? ''}`);
    } finally {
      connection.close();
    }
  };
  const names = ['ours', 'theirs', 'nothing', '../x', '', digest, `sha256:${'0'.repeat(64)}`, 'sha256:0'];
  for (const name of names) {
    attempt((connection) => connection.mountImage(name).mount.close());
    attempt((connection) => connection.checkImage(name));
    attempt((connection) => connection.checkImage(name, { digest }));
  }
  const files = [...images, '/dev/null', '/proc/self/ns/user', '/proc/self/ns/mnt', '/etc/hostname', '/'];
  for (const path of files) {
    for (const flags of [file.O_RDONLY, file.O_PATH]) {
      const fd = file.openPath(path, flags);
      const directory = file.openPath('/', file.O_RDONLY);
      attempt((connection) => connection.mountFile(fd, []).mount.close());
      attempt((connection) => connection.mountFile(fd, [directory]).mount.close());
      attempt((connection) => connection.mountFile(directory, [fd]).mount.close());
      attempt((connection) => connection.mountFile(fd, [], { userns: fd }).mount.close());
      attempt((connection) => connection.mountFile(fd, [], { digest }).mount.close());
      attempt((connection) => connection.checkFile(fd, [directory]));
      attempt((connection) => connection.checkFile(fd, [], { digest }));
      fd.close();
      directory.close();
    }
  }
  attempt((connection) => connection.reload());
  attempt((connection) => connection.listMounts());
  // Calls of the wrong shape, and calls of the interfaces beside ours.
  const calls: [string, string, string, string, unknown[]][] = [];
  for (const member of ['MountImage', 'MountFile', 'CheckImage', 'CheckFile', 'ListImages', 'ListMounts', 'Reload', 'Nothing']) {
    for (const [signature, body] of [
      ['', []],
      ['s', ['x']],
      ['a{sv}', [[['x', variants.variant('s', 'x')]]]],
      ['sa{sv}', ['x', [['digest', variants.variant('u', 1)]]]],
    ] as const) {
      calls.push(['/org/composefs/Mount1', 'org.composefs.Mount1', member, signature, [...body]]);
    }
  }
  for (const member of ['Get', 'GetAll', 'Set', 'Ping', 'Introspect', 'Hello', 'ListNames', 'GetConnectionCredentials']) {
    for (const face of ['Properties', 'Introspectable', 'Peer', '']) {
      const name = `org.freedesktop.DBus${face && '.'}${face}`;
      calls.push(['/x', name, member, 's', ['x']], ['/org/composefs/Mount1', name, member, 'ss', ['x', '__proto__']]);
    }
  }
  for (const [path, face, member, signature, body] of calls) {
    const connection = raw.connectAuthenticated(socket);
    connection.send(codec.encodeMethodCall({ serial: 1, path, interface: face, member, signature, body } as never));
    const got = connection.receive(5_000);
    connection.close();
    said.push(got && got !== 'timeout' ? got.bytes.toString('utf8') : String(got));
  }
  void fs;
  return said;
}

function requireHarmless(said: readonly string[], who: string): void {
  const secrets = {
    'a stack': /\n\s+at |\.c?[jt]s[:)]|node:|Error:/,
    'a path of the daemon': new RegExp(`${daemon.directory}|${repository}|/proc/self/fd|policy\\.d/|/var/lib`),
    "another user's rule": /rule-of-others/,
    'another user': /4799/,
    'an internal name': /SyscallError|TypeError|undefined|\[object/,
  };
  for (const text of said) {
    for (const [what, pattern] of Object.entries(secrets)) assert.doesNotMatch(text, pattern, `${who} was told ${what}: ${text}`);
  }
}

const ask = (): Ask => ({ address: daemon.address, socket: daemon.socket, images: [image, foreign, bad], digest: foreignDigest });

test('no answer to a bad call tells more than the caller may know', async () => {
  const said = await actor.do(provoke, ask());
  assert.ok(said.length > 150);
  requireHarmless(said, 'a user with a rule');
});

test('a user for whom there is no rule is told nothing of the rules and images of others', async () => {
  const said = await stranger.do(provoke, ask());
  requireHarmless(said, 'a stranger');
  for (const text of said) assert.doesNotMatch(text, /rule-of-ours/);
});

for (const syscall of ['fsopen', 'fsconfig', 'fsmount', 'move_mount', 'mount_setattr', 'openat2', 'statx', 'inotify_add_watch']) {
  test(`an error that was not foreseen is a plain Failed: ${syscall}`, async () => {
    const fault = await injectFault(daemon.pid, syscall, 'error=EXDEV', '1+');
    const answer = actor.do(
      ({ client, file }, { address, image }) => {
        const connection = client.connect({ address });
        const fd = file.openPath(image, file.O_RDONLY);
        try {
          connection.mountFile(fd, []).mount.close();
          return 'mounted';
        } catch (error) {
          const { code, message, hint } = error as { code: string; message: string; hint?: string };
          return `${code}: ${message}\n${hint ?? ''}`;
        } finally {
          fd.close();
          connection.close();
        }
      },
      { address: daemon.address, image },
    );
    const said = await answer;
    await fault.detach();
    // Not to be able to look at a caller's descriptor is the caller's matter: BadRequest.
    assert.match(said, syscall === 'statx' ? /^BadRequest: / : /^(Failed|BadImage|BadUserNamespace): /);
    requireHarmless([said], 'a user');
    assert.doesNotMatch(said, new RegExp(`${syscall}|EXDEV`));
  });
}

test('what went wrong is in the log', () => {
  assert.ok(daemon.log().some(({ msg }) => msg === 'internal error'));
});
