// Whoever is at the other end of the volume plugin's socket: the owner's own broken programs, and others, whom it does not answer.
import assert from 'node:assert/strict';
import { chmodSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { type Room, type RoomUser, openRoom } from '../support/podman.js';
import { type Plugin, ask, pluginSocket, startPlugin } from '../support/volume-plugin.js';

let room: Room;
let user: RoomUser;
let other: RoomUser;
let daemon: Daemon;
let plugin: Plugin;

before(async () => {
  room = await openRoom(2);
  [user, other] = [room.users[0]!, room.users[1]!];
  const repository = join(room.path, 'repository');
  const image = join(room.path, 'base.erofs');
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' }, '--all-root');
  addToRepository(repository, image, 'base');
  const policy = policyText({ digests: [digest], repositories: { [repository]: 'trusted' } });
  daemon = await startDaemon({ directory: room.service, policy });
  plugin = await startPlugin(room, user);
});
after(async () => {
  await room?.close();
  await daemon?.stop();
});

const post = (path: string, body: string): string => ask(room, user, path, body).stdout.trim();
const call = (method: string, body: object): string => post(`/VolumeDriver.${method}`, JSON.stringify(body));
const live = (): number => JSON.parse(room.output(user, ['cfsctl', '--json', 'mounts'])).length;

/** A program of the user's in podman's namespace, which talks to the socket as it likes. */
function script(text: string): string {
  const prelude = `const net = require('node:net'); const path = ${JSON.stringify(pluginSocket(user))};
    const until = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const talk = (bytes) => new Promise((resolve) => { let got = ''; const started = Date.now();
      const socket = net.connect(path, () => bytes !== null && socket.write(bytes));
      socket.on('data', (chunk) => (got += chunk)).on('error', (error) => (got += error.code)).on('close', () => resolve({ got, ms: Date.now() - started })); });`;
  const { status, stdout, stderr } = room.run(user, ['podman', 'unshare', 'node', '-e', `${prelude}(async () => { ${text} })()`]);
  assert.equal(status, 0, stderr);
  return stdout;
}

test('names that leave the directory, bodies that are no JSON, methods that are none: refused, and the plugin serves on', () => {
  for (const name of ['..', '../../x', 'a/b', '/etc', '.', '-x', 'x'.repeat(201)]) {
    for (const method of ['Create', 'Get', 'Path', 'Remove'])
      assert.match(call(method, { Name: name }), /^400 .*Name: is not 1 to 200/);
    assert.match(call('Mount', { Name: name, ID: 'x' }), /^400 /);
  }
  assert.match(call('Mount', { Name: 'v', ID: '../../../x' }), /^400 .*ID: is not/);
  assert.match(post('/VolumeDriver.Create', '{"Name":'), /^400 .*not JSON/);
  assert.match(
    post('/VolumeDriver.Create', '{"Name":"v","Opts":{"image":"base","upperdir":"/tmp"}}'),
    /^400 .*upperdir is unknown/,
  );
  assert.match(post('/VolumeDriver.Nothing', '{}'), /^400 .*no such method/);
  assert.match(post('/', ''), /^400 .*no such method/);
  assert.match(ask(room, user, '/Plugin.Activate', '', { method: 'GET' }).stdout, /^400 .*only POST/);
  assert.match(post('/Plugin.Activate', ''), /^200 .*VolumeDriver/);
  assert.equal(live(), 0);
});

test('a volume that does not exist: every method says so', () => {
  for (const method of ['Get', 'Path', 'Remove']) assert.match(call(method, { Name: 'none' }), /^400 .*there is no volume none/);
  for (const method of ['Mount', 'Unmount'])
    assert.match(call(method, { Name: 'none', ID: 'x' }), /^400 .*there is no volume none/);
});

test('an error shows no control characters of the caller', () => {
  const answer = call('Create', { Name: 'v', Opts: { image: 'base', '\u001B[31mred\nline': '' } });
  assert.match(answer, /^400 .*\\\\u\{1b\}\[31mred\\\\u\{a\}line is unknown/);
});

test('a body, or headers, beyond the limits: refused while it comes, and never held', () => {
  assert.match(post('/VolumeDriver.Get', `{"Name":"${'x'.repeat(70_000)}"}`), /^(400 .*more than 65536 bytes|ERROR )/);
  const got = script(`
    const endless = net.connect(path); endless.on('error', () => undefined); let sent = 0; let closed = false;
    endless.on('close', () => (closed = true));
    endless.write('POST /VolumeDriver.Get HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000000\\r\\n\\r\\n');
    for (let i = 0; i < 200 && !closed; i += 1) { endless.write(Buffer.alloc(65536, 32)); sent += 65536; await until(5); }
    const headers = await talk('POST / HTTP/1.1\\r\\nX: ' + 'x'.repeat(20000));
    console.log(closed, sent < 12_000_000, headers.got.slice(0, 12))`);
  assert.match(got, /^true true (HTTP\/1\.1 431|ECONNRESET|EPIPE)/);
});

test('bytes that are no HTTP, and requests that smuggle another: the connection ends', () => {
  const got = script(`
    for (const bytes of ['\\0\\0\\0', 'GET', 'POST / HTTP/9.9\\r\\n\\r\\n', 'x'.repeat(10000),
      'POST /Plugin.Activate HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n']) {
      const socket = net.connect(path); socket.on('error', () => undefined); socket.resume(); socket.end(bytes);
      await new Promise((resolve) => socket.on('close', resolve)); }
    const two = 'POST /Plugin.Activate HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n';
    console.log((await talk(two + two)).got.split('HTTP/1.1 200').length - 1)`);
  assert.equal(got, '1\n');
  assert.match(post('/Plugin.Activate', ''), /^200 /);
});

test('connections that say nothing end in time, and more than there may be are turned away', () => {
  const got = script(`
    const silent = Array.from({ length: 100 }, () => talk(null));
    await until(500);
    const first = await Promise.race([...silent, until(1000)]);
    console.log(first?.ms < 1000);
    const all = await Promise.all(silent);
    console.log(all.filter(({ ms }) => ms < 2000).length, all.every(({ ms }) => ms < 14_000));`);
  assert.equal(got, 'true\n36 true\n');
  assert.match(post('/Plugin.Activate', ''), /^200 /);
});

test('fifty mounts of one volume at once, by as many users: one mount of the service; it goes with the last', () => {
  assert.match(call('Create', { Name: 'v', Opts: { image: 'base' } }), /^200 /);
  const batch = (method: string): string =>
    script(`
      const one = (id) => { const body = JSON.stringify({ Name: 'v', ID: 'user' + id });
        return talk('POST /VolumeDriver.${method} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: ' + body.length + '\\r\\n\\r\\n' + body); };
      const all = await Promise.all(Array.from({ length: 50 }, (_, id) => one(id)));
      console.log(all.filter(({ got }) => got.startsWith('HTTP/1.1 200')).length)`);
  assert.equal(batch('Mount'), '50\n');
  assert.equal(live(), 1);
  assert.match(call('Remove', { Name: 'v' }), /^400 .*in use/);
  assert.equal(batch('Unmount'), '50\n');
  assert.equal(call('Path', { Name: 'v' }), '200 {"Mountpoint":"","Err":""}');
  assert.match(call('Remove', { Name: 'v' }), /^200 /);
});

test('mounts and unmounts at once, in any order: the last word counts, and nothing is left', () => {
  call('Create', { Name: 'v', Opts: { image: 'base' } });
  script(`
    const one = (method, id) => { const body = JSON.stringify({ Name: 'v', ID: 'u' + id });
      return talk('POST /VolumeDriver.' + method + ' HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: ' + body.length + '\\r\\n\\r\\n' + body); };
    for (let round = 0; round < 10; round += 1)
      await Promise.all([0, 1, 2, 3].flatMap((id) => [one('Mount', id), one('Unmount', id), one('Mount', id), one('Unmount', id)]));
    for (const id of [0, 1, 2, 3]) await one('Unmount', id);`);
  assert.equal(call('Path', { Name: 'v' }), '200 {"Mountpoint":"","Err":""}');
  assert.match(call('Remove', { Name: 'v' }), /^200 /);
});

test('who asks for a mount and goes away leaves none behind', async () => {
  call('Create', { Name: 'v', Opts: { image: 'base' } });
  daemon.process.kill('SIGSTOP');
  try {
    script(`const body = JSON.stringify({ Name: 'v', ID: 'gone' });
      const socket = net.connect(path); socket.write('POST /VolumeDriver.Mount HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: ' + body.length + '\\r\\n\\r\\n' + body);
      await until(500); socket.destroy(); await until(200);`);
  } finally {
    daemon.process.kill('SIGCONT');
  }
  await daemon.eventually('nothing is mounted', () => live() === 0);
  assert.equal(call('Path', { Name: 'v' }), '200 {"Mountpoint":"","Err":""}');
  assert.match(call('Remove', { Name: 'v' }), /^200 /);
});

test("nobody but the owner is answered: not another user, not root of the host, not a container's user", () => {
  const socket = pluginSocket(user);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  assert.equal(ask(room, user, '/Plugin.Activate', '', { as: other }).stdout, 'ERROR EACCES\n');
  // Even where the owner has opened the way: it is the uid that counts.
  for (const directory of [join(user.home, 'run'), join(user.home, 'run/cfsctl')]) chmodSync(directory, 0o755);
  chmodSync(socket, 0o666);
  const unanswered = /^ERROR (ECONNRESET|EPIPE)\n$/;
  assert.match(ask(room, user, '/Plugin.Activate', '', { as: other }).stdout, unanswered);
  assert.match(ask(room, user, '/Plugin.Activate', '', { as: 'root' }).stdout, unanswered);
  const asContainer = ['podman', 'unshare', 'setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', '--'];
  const program = `require('node:http').request({ socketPath: '${socket}', path: '/Plugin.Activate', method: 'POST' }).on('response', () => console.log('answered')).on('error', (error) => console.log(error.code)).end()`;
  assert.match(room.run(user, [...asContainer, 'node', '-e', program]).stdout, /^(ECONNRESET|EPIPE)\n$/);
  for (const directory of [join(user.home, 'run'), join(user.home, 'run/cfsctl')]) chmodSync(directory, 0o700);
  chmodSync(socket, 0o600);
  assert.match(post('/Plugin.Activate', ''), /^200 /);
});

test('a second plugin on the same socket does not start, and the first serves on', () => {
  const { status, stderr } = room.run(user, ['podman', 'unshare', 'cfsctl', 'volume-plugin']);
  assert.equal(status, 1);
  assert.match(stderr, /a volume plugin answers on .*volume\.sock already/);
  assert.match(post('/Plugin.Activate', ''), /^200 /);
});

test("outside podman's namespace it does not start, and says how", () => {
  const { status, stderr } = room.run(user, ['cfsctl', 'volume-plugin']);
  assert.equal(status, 1);
  assert.match(stderr, /this is the initial one\n  hint: .*podman unshare/);
});

test('a mount for who is in another namespace is refused, and the plugin ends, for a new one to start', async () => {
  call('Create', { Name: 'v', Opts: { image: 'base' } });
  const body = JSON.stringify({ Name: 'v', ID: 'x' });
  const program = `const request = require('node:http').request({ socketPath: '${pluginSocket(user)}', path: '/VolumeDriver.Mount', method: 'POST' }, (response) => response.on('data', (chunk) => console.log(String(chunk)))); request.end('${body}')`;
  assert.match(room.run(user, ['unshare', '-Urm', 'node', '-e', program]).stdout, /podman is not in the namespace/);
  assert.equal(await plugin.ended(), 1);
});
