// The service's life: sockets handed in, the service manager told, the policy read and read again, and its end.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';

import { connect } from '../../client/mount-client.js';
import { listenStream } from '../../core/kernel/socket.js';
import { eventually, readStatus } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { DIST } from '../support/machine.js';
import { openNotifySocket } from '../support/notify-socket.js';
import { type Background, startInBackground } from '../support/process.js';
import { outputAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const image = join(scratch.path, 'image.erofs');
const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
addToRepository(repository, image, 'base');
const TRUSTING = policyText({ digests: [digest], repositories: { [repository]: 'trusted' } });
const OTHER_DIGEST = `sha256:${'ab'.repeat(32)}`;

let directory: string;
let count = 0;
beforeEach(() => {
  directory = join(scratch.path, `run-${++count}`);
  mkdirSync(join(directory, 'policy.d'), { recursive: true });
});
after(() => scratch.remove());

const socketPath = (): string => join(directory, 'socket');
const writePolicy = (text: string): void => writeFileSync(join(directory, 'policy.d/test.toml'), text);

function daemonCommand(...flags: string[]): string[] {
  const own = ['--policy-dir', join(directory, 'policy.d'), '--state-dir', join(directory, 'state'), '--socket', socketPath()];
  return [join(DIST, 'cfsmountd'), ...own, '--bus', 'none', ...flags];
}

const READY = '"msg":"ready"';

async function startReady(env: Record<string, string> = {}, ...flags: string[]): Promise<Background> {
  const daemon = startInBackground(daemonCommand(...flags), env);
  await daemon.says(READY);
  return daemon;
}

function verdictAt(path: string): string {
  using client = connect({ address: `unix:path=${path}` });
  return client.checkImage(digest).verdict;
}

/** Whether a process has a handler for a signal (/proc/PID/status, SigCgt). */
function isCaught(pid: number, signal: number): boolean {
  return ((BigInt(`0x${readStatus(pid, 'SigCgt')}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

test('systemd-socket-activate: the call that came before the service is answered by it', async () => {
  writePolicy(TRUSTING);
  const command = ['systemd-socket-activate', '--listen', socketPath(), '--fdname', 'cfsmountd', ...daemonCommand()];
  const daemon = startInBackground(command, {});
  await eventually('the socket is there', () => existsSync(socketPath()));
  const words = [`--address=unix:path=${socketPath()}`, 'call', 'org.composefs.Mount1', '/org/composefs/Mount1'];
  const answer = outputAs(0, ['busctl', ...words, 'org.composefs.Mount1', 'CheckImage', 'sa{sv}', 'base', '0']);
  assert.match(answer, /"verdict" s "allow"/);
  await daemon.says('"inherited":1');
  assert.equal(await daemon.ended('SIGTERM'), 0);
  assert.ok(existsSync(socketPath()), "a socket that is the service manager's is not removed");
});

/** Starts the daemon with listening sockets as descriptors 3 and up, as a service manager does. */
async function startWithSockets(paths: readonly string[], env: Record<string, string>): Promise<Background> {
  const listeners = paths.map((path) => listenStream(path, 16));
  // LISTEN_PID is the number of the very process: only the process that becomes the daemon knows it.
  const setPid = 'LISTEN_PID=${LISTEN_PID:-$$} exec "$@"';
  const command = ['sh', '-c', `export LISTEN_PID; ${setPid}`, 'sh', ...daemonCommand()];
  const daemon = startInBackground(
    command,
    { LISTEN_FDS: String(paths.length), ...env },
    listeners.map(({ raw }) => raw),
  );
  for (const listener of listeners) listener.close();
  await daemon.says(READY);
  return daemon;
}

test('every socket handed in is served, and the path of the configuration is left alone', async () => {
  writePolicy(TRUSTING);
  const paths = [join(directory, 'one'), join(directory, 'two')];
  const daemon = await startWithSockets(paths, { LISTEN_FDNAMES: 'one:two' });
  assert.match(daemon.stderr(), /"inherited":2/);
  for (const path of paths) assert.equal(verdictAt(path), 'allow');
  assert.ok(!existsSync(socketPath()));
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

test('sockets meant for another process are not taken', async () => {
  const path = join(directory, 'one');
  const daemon = await startWithSockets([path], { LISTEN_PID: '1' });
  assert.match(daemon.stderr(), /"inherited":0/);
  assert.ok(existsSync(socketPath()));
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

test('the service manager hears READY, WATCHDOG twice in its interval, RELOADING and READY, STOPPING', async () => {
  const path = join(directory, 'notify');
  const socket = openNotifySocket(path);
  const heard: string[] = [];
  const hears = (message: RegExp, from = 0) =>
    eventually(`the service manager hears ${message}`, () => {
      heard.push(...socket.take());
      return heard.slice(from).some((one) => message.test(one));
    });
  const daemon = await startReady({ NOTIFY_SOCKET: path, WATCHDOG_USEC: '400000' });
  await hears(/^READY=1$/);
  const interval = 400;
  const started = Date.now();
  const count = (): number => heard.filter((one) => one === 'WATCHDOG=1').length;
  await eventually('ten signs of life', () => (heard.push(...socket.take()), count() >= 10));
  assert.ok(Date.now() - started > 3 * interval, 'at its pace, not all at once');
  assert.ok(Date.now() - started < 10 * interval, 'at least one in each interval');
  const before = heard.length;
  daemon.process.kill('SIGHUP');
  await hears(/^RELOADING=1\nMONOTONIC_USEC=\d+$/, before);
  await hears(/^READY=1$/, before);
  assert.equal(await daemon.ended('SIGTERM'), 0);
  await hears(/^STOPPING=1$/);
  socket.close();
});

test('no sign of life is sent where none was asked of this process', async () => {
  const path = join(directory, 'notify');
  const socket = openNotifySocket(path);
  const daemon = await startReady({ NOTIFY_SOCKET: path, WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' });
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(await daemon.ended('SIGTERM'), 0);
  const stored = ['mounts-inotify', 'mounts-table'].map((name) => `FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`);
  assert.deepEqual(socket.take(), [...stored, 'READY=1', 'STOPPING=1']);
  socket.close();
});

/** Starts the daemon and returns before it is ready, when it handles SIGHUP; undefined if it was ready first, or we were too slow. */
async function startCatching(): Promise<Background | undefined> {
  const daemon = startInBackground(daemonCommand(), {});
  await eventually('SIGHUP is caught', () => isCaught(daemon.process.pid!, 1));
  if (!daemon.stderr().includes(READY)) return daemon;
  await daemon.ended('SIGTERM');
  return undefined;
}

test('SIGHUP is handled before the service is ready, and what was written before it counts', async () => {
  let daemon: Background | undefined;
  for (let attempt = 0; !daemon && attempt < 10; attempt++) daemon = await startCatching();
  assert.ok(daemon, 'it is never caught before the service is ready');
  writePolicy(TRUSTING);
  daemon.process.kill('SIGHUP');
  await daemon.says(READY);
  await eventually('the policy written last is in force', () => verdictAt(socketPath()) === 'allow');
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

test('SIGHUP replaces the policy as a whole', async () => {
  writePolicy(TRUSTING);
  const daemon = await startReady();
  assert.equal(verdictAt(socketPath()), 'allow');
  writePolicy(policyText({ digests: [OTHER_DIGEST], repositories: { [repository]: 'trusted' } }));
  assert.equal(verdictAt(socketPath()), 'allow', 'nothing is read before it is told to');
  daemon.process.kill('SIGHUP');
  await daemon.says('policy read again');
  assert.equal(verdictAt(socketPath()), 'deny');
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

const BROKEN: readonly { what: string; text: string; line: number; says: RegExp }[] = [
  { what: 'an unknown key', text: '[[rule]]\nname = "x"\ndigest = []\n', line: 3, says: /digest/ },
  { what: 'a file cut short', text: '[[rule]]\nname = "x\n', line: 2, says: /not valid TOML/ },
  {
    what: 'a repository that is not there',
    text: '\n[[repository]]\npath = "/no/such"\nobjects = "verity"\n',
    line: 2,
    says: /\/no\/such/,
  },
  { what: 'a digest that is none', text: '[[rule]]\nname = "x"\ndigests = ["sha256:12"]\n', line: 3, says: /digest/ },
];

for (const { what, text, line, says } of BROKEN) {
  test(`a broken policy keeps the old one on reload, and the log names file and line: ${what}`, async () => {
    writePolicy(TRUSTING);
    const daemon = await startReady();
    writePolicy(text);
    daemon.process.kill('SIGHUP');
    await daemon.says('the old one stays');
    assert.ok(daemon.stderr().includes(`${join(directory, 'policy.d/test.toml')}:${line}: `), daemon.stderr());
    assert.match(daemon.stderr(), says);
    assert.equal(verdictAt(socketPath()), 'allow');
    assert.equal(await daemon.ended('SIGTERM'), 0);
  });

  test(`a broken policy refuses the start, and says file and line: ${what}`, async () => {
    writePolicy(text);
    const daemon = startInBackground(daemonCommand(), {});
    assert.equal(await daemon.ended(), 1);
    assert.ok(daemon.stderr().includes(`${join(directory, 'policy.d/test.toml')}:${line}: `), daemon.stderr());
    assert.match(daemon.stderr(), says);
    assert.ok(!existsSync(socketPath()), 'nothing listens');
  });
}

test('Reload over D-Bus: a broken policy is an error for root, and the old one stays', async () => {
  writePolicy(TRUSTING);
  const daemon = await startReady();
  writePolicy('[[rule]]\nname = 7\n');
  {
    using client = connect({ address: `unix:path=${socketPath()}` });
    assert.throws(() => client.reload(), /test\.toml:2/);
  }
  assert.equal(verdictAt(socketPath()), 'allow');
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

test('without a policy nothing is allowed, not even to root', async () => {
  rmSync(join(directory, 'policy.d'), { recursive: true });
  const daemon = await startReady({}, '--repo', repository);
  assert.equal(verdictAt(socketPath()), 'deny');
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

test('--idle-exit: it ends by itself with status 0, but not while a client is there', async () => {
  const daemon = await startReady({}, '--idle-exit', '1');
  const client = connect({ address: `unix:path=${socketPath()}` });
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  assert.equal(daemon.process.exitCode, null);
  assert.deepEqual(client.listMounts(), []);
  client.close();
  assert.equal(await daemon.ended(), 0);
  assert.match(daemon.stderr(), /"reason":"idle"/);
  assert.ok(!existsSync(socketPath()));
});

test('a socket left behind by a daemon that was killed is replaced', async () => {
  writePolicy(TRUSTING);
  const first = await startReady();
  assert.equal(await first.ended('SIGKILL'), 'SIGKILL');
  assert.ok(existsSync(socketPath()));
  const second = await startReady();
  assert.equal(verdictAt(socketPath()), 'allow');
  assert.equal(statSync(socketPath()).mode & 0o777, 0o666);
  assert.equal(await second.ended('SIGTERM'), 0);
});

test('a second daemon on the same socket refuses to start, and the first goes on', async () => {
  writePolicy(TRUSTING);
  const first = await startReady();
  const second = startInBackground(daemonCommand(), {});
  assert.equal(await second.ended(), 1);
  assert.match(second.stderr(), /another service answers on /);
  assert.equal(verdictAt(socketPath()), 'allow');
  assert.equal(await first.ended('SIGTERM'), 0);
});

test('something that is not a socket is not removed from its path', async () => {
  writeFileSync(socketPath(), 'precious');
  const daemon = startInBackground(daemonCommand(), {});
  assert.equal(await daemon.ended(), 1);
  assert.match(daemon.stderr(), /is not a socket/);
  assert.equal(statSync(socketPath()).size, 'precious'.length);
});
