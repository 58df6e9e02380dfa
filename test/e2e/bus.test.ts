// The service on a real dbus-daemon with our policy file, and D-Bus tools that are not ours on both transports.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { VERSION } from '../../core/wire/version.js';
import { startActor } from '../support/actor.js';
import { type Bus, startBus } from '../support/bus.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { outputAs, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const NAME = 'org.composefs.Mount1';
const PATH = '/org/composefs/Mount1';
const METHODS = ['MountImage', 'MountFile', 'CheckImage', 'CheckFile', 'ListImages', 'ListMounts', 'Reload'];
const PROPERTIES = ['Version', 'Features', 'Policy'];
const UIDS = [0, 4711];
const TRANSPORTS = ['direct', 'bus'] as const;
type Transport = (typeof TRANSPORTS)[number];

const scratch = makeScratch();
let bus: Bus;
let daemon: Daemon;
let digest: string;

before(async () => {
  const repository = join(scratch.path, 'repository');
  const image = join(scratch.path, 'image.erofs');
  digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  addToRepository(repository, image, 'base');
  bus = await startBus(scratch.path, [4711]);
  const policy = policyText({ digests: [digest], repositories: { [repository]: 'trusted' } });
  daemon = await startDaemon({ policy, flags: ['--bus', bus.address] });
});
after(async () => {
  await daemon?.stop();
  await bus?.stop();
  scratch.remove();
});

const addressOf = (transport: Transport): string => (transport === 'bus' ? bus.address : daemon.address);
const busctl = (transport: Transport, ...words: string[]): string[] => ['busctl', `--address=${addressOf(transport)}`, ...words];
const gdbus = (transport: Transport, command: string, ...words: string[]): string[] => {
  return ['gdbus', command, '--address', addressOf(transport), '--dest', NAME, '--object-path', PATH, ...words];
};
const dbusSend = (transport: Transport, ...words: string[]): string[] => {
  const to = transport === 'bus' ? [`--bus=${addressOf(transport)}`, `--dest=${NAME}`] : [`--peer=${addressOf(transport)}`];
  return ['dbus-send', ...to, '--print-reply', PATH, ...words];
};

function forEachCaller(what: string, check: (transport: Transport, uid: number) => void): void {
  for (const transport of TRANSPORTS) {
    for (const uid of UIDS) test(`${what}: ${transport}, uid ${uid}`, () => check(transport, uid));
  }
}

/** The audit line of the call made last. */
function lastAudit(): Record<string, unknown> {
  const line = daemon.audits().at(-1);
  assert.ok(line, 'an audit line');
  return line;
}

async function assertAudited(uid: number, count: number): Promise<void> {
  await daemon.eventually('the decision is in the log', () => daemon.audits().length > count);
  const { method, verdict, uid: audited, digest: seen } = lastAudit();
  assert.deepEqual({ method, verdict, audited, seen }, { method: 'CheckImage', verdict: 'allow', audited: uid, seen: digest });
}

forEachCaller('busctl introspects: every method and property with its signature', (transport, uid) => {
  const text = outputAs(uid, busctl(transport, 'introspect', NAME, PATH));
  for (const method of METHODS) assert.match(text, new RegExp(`^\\.${method} +method `, 'm'));
  for (const property of PROPERTIES) assert.match(text, new RegExp(`^\\.${property} +property `, 'm'));
  assert.match(text, /^\.MountImage +method +sha\{sv\} +ha\{sv\}/m);
});

forEachCaller('busctl reads a property and walks the tree', (transport, uid) => {
  assert.equal(outputAs(uid, busctl(transport, 'get-property', NAME, PATH, NAME, 'Version')), `s "${VERSION}"\n`);
  assert.match(outputAs(uid, busctl(transport, 'get-property', NAME, PATH, NAME, 'Features')), /^as \d+ .*"erofs"/);
  assert.match(outputAs(uid, busctl(transport, 'get-property', NAME, PATH, NAME, 'Policy')), /"digests" u 1/);
  assert.match(outputAs(uid, busctl(transport, 'tree', NAME)), new RegExp(PATH));
});

for (const transport of TRANSPORTS) {
  for (const uid of UIDS) {
    test(`busctl calls CheckImage, audited with the uid the kernel knows: ${transport}, uid ${uid}`, async () => {
      const before = daemon.audits().length;
      const text = outputAs(uid, busctl(transport, 'call', NAME, PATH, NAME, 'CheckImage', 'sa{sv}', 'base', '0'));
      assert.match(text, /"verdict" s "allow"/);
      assert.ok(text.includes(`"digest" s "${digest}"`), text);
      await assertAudited(uid, before);
    });
  }
}

forEachCaller('gdbus introspects with values', (transport, uid) => {
  const text = outputAs(uid, gdbus(transport, 'introspect'));
  for (const method of METHODS) assert.ok(text.includes(`${method}(`), method);
  assert.ok(text.includes(`readonly s Version = '${VERSION}';`), text);
});

forEachCaller('gdbus calls CheckImage and Properties.Get', (transport, uid) => {
  const text = outputAs(uid, gdbus(transport, 'call', '--method', `${NAME}.CheckImage`, digest, '{}'));
  assert.match(text, /'verdict': <'allow'>/);
  const version = gdbus(transport, 'call', '--method', 'org.freedesktop.DBus.Properties.Get', NAME, 'Version');
  assert.equal(outputAs(uid, version), `(<'${VERSION}'>,)\n`);
});

forEachCaller('gdbus reads the name and the text of a refusal', (transport, uid) => {
  const refused = runAs(uid, gdbus(transport, 'call', '--method', `${NAME}.CheckImage`, `sha256:${'0'.repeat(63)}`, '{}'));
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /GDBus\.Error:org\.composefs\.Mount1\.Error\.BadRequest: /);
  const root = runAs(uid, gdbus(transport, 'call', '--method', `${NAME}.Reload`));
  if (uid === 0) assert.equal(root.status, 0, root.stderr);
  else assert.match(root.stderr, /Error\.NotAuthorized: /);
});

forEachCaller('dbus-send introspects, reads a property, pings', (transport, uid) => {
  assert.match(
    outputAs(uid, dbusSend(transport, 'org.freedesktop.DBus.Introspectable.Introspect')),
    /<method name="MountImage">/,
  );
  const get = dbusSend(transport, 'org.freedesktop.DBus.Properties.Get', `string:${NAME}`, 'string:Version');
  assert.match(outputAs(uid, get), new RegExp(`variant +string "${VERSION}"`));
  assert.match(outputAs(uid, dbusSend(transport, 'org.freedesktop.DBus.Peer.Ping')), /^method return/);
});

const DBUS_NEXT_CLIENT = `
import dbus from 'dbus-next';
const [address, name, path] = process.argv.slice(1);
const bus = dbus.sessionBus({ busAddress: address });
const object = await bus.getProxyObject(name, path);
const images = object.getInterface(name);
const properties = object.getInterface('org.freedesktop.DBus.Properties');
const plain = (dict) => Object.fromEntries(Object.entries(dict).map(([key, { value }]) => [key, value]));
const refusal = await images.CheckImage('no/such', {}).then(() => 'none', (error) => error.type);
console.log(JSON.stringify({
  report: plain(await images.CheckImage('base', {})),
  images: (await images.ListImages({})).map(plain),
  mounts: (await images.ListMounts({})).length,
  version: (await properties.Get(name, 'Version')).value,
  refusal,
}));
bus.disconnect();
`;

forEachCaller('dbus-next makes every call that carries no descriptor', (transport, uid) => {
  const command = [process.execPath, '--input-type=module', '-e', DBUS_NEXT_CLIENT, addressOf(transport), NAME, PATH];
  const seen = JSON.parse(outputAs(uid, command)) as Record<string, unknown> & { report: Record<string, unknown> };
  assert.equal(seen.report['verdict'], 'allow');
  assert.equal(seen.report['digest'], digest);
  assert.deepEqual(
    (seen['images'] as { name: string }[]).map(({ name }) => name),
    ['base'],
  );
  assert.equal(seen['mounts'], 0);
  assert.equal(seen['version'], VERSION);
  assert.equal(seen['refusal'], 'org.composefs.Mount1.Error.NoSuchImage');
});

test('both transports describe themselves in the same words', () => {
  const [direct, onBus] = TRANSPORTS.map((transport) =>
    outputAs(4711, busctl(transport, '--xml-interface', 'introspect', NAME, PATH)),
  );
  assert.ok(direct!.includes('MountImage'));
  assert.equal(direct, onBus);
});

for (const transport of TRANSPORTS) {
  test(`a caller inside unshare -Urm, uid 0 by its own word, mounts by name and by file: ${transport}`, async () => {
    const actor = await startActor({ uid: 4711 });
    try {
      const address = transport === 'bus' ? `bus:${bus.address}` : daemon.address;
      const seen = await actor.do(
        ({ client, file, fs, mount }, { address, image }) => {
          const connection = client.connect({ address });
          const fd = file.openPath(image, file.O_RDONLY);
          const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
          const texts = [connection.mountImage('base'), connection.mountFile(fd, [])].map((got) => {
            client.attach(got.mount, directory);
            got.mount.close();
            const text = fs.readFileSync(`${directory}/hello.txt`, 'utf8');
            const { uid } = fs.statSync(`${directory}/hello.txt`);
            mount.umount2(directory, mount.MNT_DETACH);
            return `${text.trim()} of ${uid}`;
          });
          fs.rmdirSync(directory);
          fd.close();
          connection.close();
          return { texts, uid: process.getuid?.() };
        },
        { address, image: join(scratch.path, 'image.erofs') },
      );
      assert.deepEqual(seen, { texts: ['hello of 0', 'hello of 0'], uid: 0 });
      await daemon.eventually('both are audited', () => {
        const last = daemon.audits().slice(-2);
        return last.every(({ uid, verdict }) => uid === 4711 && verdict === 'allow') && last.at(-1)?.['method'] === 'MountFile';
      });
    } finally {
      await actor.stop();
    }
  });
}

const REFUSED: readonly { what: string; words: readonly string[] }[] = [
  { what: 'our interface on another path', words: [NAME, '/', NAME, 'ListImages', 'a{sv}', '0'] },
  { what: 'our interface on a path below ours', words: [NAME, `${PATH}/x`, NAME, 'ListImages', 'a{sv}', '0'] },
  { what: 'another interface', words: [NAME, PATH, 'org.composefs.Mount2', 'ListImages', 'a{sv}', '0'] },
  { what: 'an interface of the bus driver', words: [NAME, PATH, 'org.freedesktop.DBus', 'Hello'] },
  { what: 'properties of another path', words: [NAME, '/', 'org.freedesktop.DBus.Properties', 'GetAll', 's', NAME] },
  { what: 'the object manager', words: [NAME, PATH, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects'] },
];

for (const { what, words } of REFUSED) {
  for (const uid of UIDS) {
    test(`the bus policy refuses ${what}: uid ${uid}`, async () => {
      // gdbus prints the name of an error, and the sender of a refusal by the bus is not us: its text names the rule.
      const [destination, path, interfaceName, member] = words;
      const command = [
        'dbus-send',
        `--bus=${bus.address}`,
        `--dest=${destination}`,
        '--print-reply',
        path!,
        `${interfaceName}.${member}`,
      ];
      const { status, stderr } = runAs(uid, command);
      assert.notEqual(status, 0);
      assert.match(stderr, /AccessDenied/);
      assert.match(stderr, /Rejected send message/);
    });
  }
}

test('the bus policy refuses our method called without an interface', () => {
  const hello =
    "import dbus from 'dbus-next'; const [address, name, path] = process.argv.slice(1);" +
    'const bus = dbus.sessionBus({ busAddress: address });' +
    "const call = new dbus.Message({ destination: name, path, member: 'ListImages', signature: 'a{sv}', body: [{}] });" +
    "await new Promise((done) => bus.once('connect', done));" +
    "console.log(await bus.call(call).then(() => 'answered', (error) => error.type)); bus.disconnect();";
  const command = [process.execPath, '--input-type=module', '-e', hello];
  assert.equal(outputAs(4711, [...command, bus.address, NAME, PATH]), 'org.freedesktop.DBus.Error.AccessDenied\n');
});

test('nobody but root may own the name', () => {
  const request = ['call', 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'RequestName', 'su'];
  const { status, stderr } = runAs(4711, busctl('bus', ...request, NAME, '0'));
  assert.notEqual(status, 0);
  assert.match(stderr, /Access denied/);
  const { status: rootStatus, stdout } = runAs(0, busctl('bus', ...request, NAME, '4'));
  assert.deepEqual([rootStatus, stdout], [0, 'u 3\n'], 'root may, and learns that the name is taken'); // DBUS_REQUEST_NAME_REPLY_EXISTS
});

test('a second service on the same bus does not start', async () => {
  await assert.rejects(
    startDaemon({ policy: '', flags: ['--bus', bus.address] }),
    /ended with 1: .*the name org\.composefs\.Mount1 is taken/s,
  );
});

test('a service whose bus goes away ends with a failure, so that it is started anew', async () => {
  const other = makeScratch();
  const lost = await startBus(other.path);
  const orphan = await startDaemon({ policy: '', flags: ['--bus', lost.address] });
  await lost.stop();
  await orphan.eventually('the service has ended', () => orphan.process.exitCode !== null);
  assert.equal(orphan.process.exitCode, 1);
  assert.match(orphan.stderr(), /the bus went away/);
  await orphan.kill();
  other.remove();
});
