// docs/podman.md, as somebody would follow it who has read nothing else: its very commands, in its order, on a host of their own with real podman.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { eventually } from '../support/daemon.js';
import { ROOT, run } from '../support/machine.js';
import { makeRootTree } from '../support/podman-kit.js';
import { type Room, type RoomUser, openRoom } from '../support/podman.js';
import { startPlugin } from '../support/volume-plugin.js';

const guide = readFileSync(join(ROOT, 'docs/podman.md'), 'utf8');

interface Block {
  readonly kind: string;
  /** What it stands below. */
  readonly heading: string;
  readonly text: string;
}

/** The fenced blocks. */
function readBlocks(): Block[] {
  const blocks: Block[] = [];
  let [heading, kind, lines] = ['', '', [] as string[]];
  for (const line of guide.split('\n')) {
    if (kind === '' && line.startsWith('#')) heading = line.replace(/^#+ /, '');
    else if (kind === '' && line.startsWith('```')) [kind, lines] = [line.slice(3), []];
    else if (line === '```') {
      blocks.push({ kind, heading, text: `${lines.join('\n')}\n` });
      kind = '';
    } else lines.push(line);
  }
  return blocks;
}

const blocksOf = (kind: string): Block[] => readBlocks().filter((block) => block.kind === kind);

let room: Room;
let alice: RoomUser;
let stopDaemon: () => Promise<void>;

before(async () => {
  room = await openRoom();
  alice = room.users[0]!;
  prepareHost();
  stopDaemon = await startService();
  const tree = makeRootTree(join(room.path, 'web'), 100_000);
  writeFileSync(join(tree, 'etc/motd'), 'welcome\n');
  run('tar', '-C', tree, '-cf', join(room.path, 'web-tree.tar'), '.');
  room.output(alice, ['podman', 'import', '--quiet', join(room.path, 'web-tree.tar'), 'localhost/web:latest']);
  mkdirSync(join(alice.home, 'site'));
  writeFileSync(join(alice.home, 'site/index.html'), `<p>${'a page of some length '.repeat(10)}</p>\n`);
  chownSync(join(alice.home, 'site'), alice.uid, alice.uid);
});
after(async () => {
  await stopDaemon?.();
  await room?.close();
});

/** What the package does: its directories. /var/lib is on a real disk, and the room's alone. */
function prepareHost(): void {
  const state = join(room.path, 'var-lib');
  mkdirSync(state, { mode: 0o755 });
  room.output('root', ['mount', '--bind', state, '/var/lib']);
  room.output('root', ['rm', '-rf', '/etc/cfsmountd']);
  room.output('root', ['systemd-tmpfiles', '--create', join(ROOT, 'systemd/tmpfiles.conf')]);
  const [policy] = blocksOf('toml');
  room.output('root', ['sh', '-c', 'cat >/etc/cfsmountd/policy.d/repository.toml'], { input: policy!.text });
}

async function startService(): Promise<() => Promise<void>> {
  const [program, ...words] = room.command('root', ['sh', '-c', `echo $$ >${room.path}/pid; exec cfsmountd --bus none`]);
  const daemon = spawn(program!, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  daemon.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  await eventually('the service is ready', () => {
    if (daemon.exitCode !== null) throw new Error(`the service ended with ${daemon.exitCode}: ${stderr}`);
    return stderr.includes('"msg":"ready"');
  });
  return async () => {
    if (daemon.exitCode !== null) return;
    room.run('root', ['kill', readFileSync(join(room.path, 'pid'), 'utf8').trim()]);
    await once(daemon, 'exit');
  };
}

/** What some commands print; of all others it is enough that they succeed. */
const EXPECTED: readonly [command: RegExp, says: RegExp][] = [
  [/^podman run .*localhost\/team\/web:latest cat \/etc\/motd$/, /^welcome\n$/],
  [/^podman run .*localhost\/mine:latest/, /^changed\n$/],
  [/^podman run .*index\.html$/, /a page of some length/],
  [/^podman run .*--rootfs/, /^welcome\n$/],
  [/^podman diff/, /^C \/etc\/motd$/m],
  [/^podman images/, /localhost\/team\/web/],
  [/^cfsctl setup podman$/, /^Nothing is written/m],
  [/^cfsctl policy test/, /^allowed/],
  [/ id -un$/, /^alice\n$/],
];

async function follow(prompt: string, command: string): Promise<void> {
  // There is no service manager in the room.
  if (command === 'systemctl --user enable --now cfsctl-volume-plugin.socket') return void (await startPlugin(room, alice));
  const own = command.replaceAll('/home/alice', alice.home).replaceAll('alice', alice.name);
  const { status, stdout, stderr } = room.run(prompt === '#' ? 'root' : alice, ['bash', '-c', own]);
  assert.equal(status, 0, `${prompt} ${command}\n${stdout}${stderr}`);
  for (const [pattern, says] of EXPECTED)
    if (pattern.test(command)) assert.match(stdout.replaceAll(alice.name, 'alice'), says, command);
}

for (const { heading, text } of blocksOf('console')) {
  const commands = [...text.matchAll(/^([#$]) (.*)$/gm)].map((match) => ({ prompt: match[1]!, command: match[2]! }));
  assert.equal(commands.length, text.trim().split('\n').length, `not a command in ${heading}: ${text}`);
  test(`${heading}: ${commands[0]!.command}`, async () => {
    for (const { prompt, command } of commands) await follow(prompt, command);
  });
}

test('the guide has left nothing in the configuration of podman but what was there before', () => {
  assert.equal(existsSync(join(alice.home, '.config/containers/containers.conf.d/50-cfsctl.conf')), false);
  assert.equal(readFileSync(join(alice.home, '.config/containers/storage.conf'), 'utf8'), '[storage]\ndriver = "overlay"\n');
});

test('the examples for Quadlet name what the guide makes', () => {
  const [container, volume] = ['web.container', 'site.volume'].map((name) =>
    readFileSync(join(ROOT, 'packaging/quadlet', name), 'utf8'),
  );
  assert.match(container!, /^Image=localhost\/team\/web:latest$/m);
  assert.match(container!, /^Volume=site\.volume:/m);
  assert.match(volume!, /^Driver=cfs$/m);
  assert.match(volume!, /^PodmanArgs=--opt image=team\/site$/m);
});
