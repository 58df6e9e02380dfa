// Row 8: a writable overlay would write with the daemon's rights. Defences: no option names an upper or a work directory (unknown
// options are errors), the programs know no such mount option, and what is handed out is read-only down to its superblock.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { DIST, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const repository = join(scratch.path, 'repository');
const sampleRepository = join(scratch.path, 'sample-repository');
const target = join(scratch.path, 'roots-own');
let daemon: Daemon;
let actor: Actor;

before(async () => {
  const digests = [makeErofs(image, { hello: 'hello\n' })];
  addToRepository(repository, image, 'plain');
  const skip = withoutSample();
  if (!skip) digests.push(makeSampleRepository(sampleRepository));
  const repositories: Record<string, 'trusted'> = { [repository]: 'trusted' };
  if (!skip) repositories[sampleRepository] = 'trusted';
  mkdirSync(target);
  chmodSync(target, 0o755);
  daemon = await startDaemon({ policy: policyText({ digests, repositories }) });
  actor = await startActor({ uid: 4723 });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

const KEYS = [
  ...['upperdir', 'workdir', 'lowerdir', 'lowerdir+', 'datadir+', 'upper', 'work', 'rw', 'ro', 'nodev', 'dev', 'suid', 'exec'],
  ...['userxattr', 'volatile', 'index', 'xino', 'metacopy', 'verity', 'source', 'target', 'options', 'data', 'flags', 'device'],
  ...['digest,upperdir', 'nosuid=1,upperdir', '__proto__', 'constructor', ''],
];

const METHODS = ['MountImage', 'MountFile', 'CheckImage', 'CheckFile', 'ListImages', 'ListMounts'] as const;

for (const method of METHODS) {
  test(`${method} knows no option that names a place to write`, async () => {
    const accepted = await actor.do(
      ({ file, rawCall, variants }, { socket, image, target, keys, method }) => {
        const userns = file.openPath('/proc/self/ns/user', file.O_RDONLY);
        const fd = file.openPath(image, file.O_RDONLY);
        const directory = file.openPath(target, file.O_RDONLY);
        const values = [
          variants.variant('s', target),
          variants.variant('h', 0),
          variants.variant('ah', [0]),
          variants.variant('b', true),
        ];
        const results: string[] = [];
        const send = (key: string, value: unknown): string => {
          const options = [[key, value]];
          const calls = {
            MountImage: { signature: 'sha{sv}', body: ['plain', 1, options], fds: [directory, userns] },
            MountFile: { signature: 'hahha{sv}', body: [2, [], 1, options], fds: [directory, userns, fd] },
            CheckImage: { signature: 'sa{sv}', body: ['plain', options], fds: [directory] },
            CheckFile: { signature: 'haha{sv}', body: [1, [], options], fds: [directory, fd] },
            ListImages: { signature: 'a{sv}', body: [options], fds: [directory] },
            ListMounts: { signature: 'a{sv}', body: [options], fds: [directory] },
          };
          return rawCall.callRaw(socket, { member: method, ...calls[method] }).what;
        };
        for (const key of keys) {
          for (const value of values) {
            const what = send(key, value);
            if (what !== 'BadRequest') results.push(`${key} as ${value.signature}: ${what}`);
          }
        }
        for (const one of [userns, fd, directory]) one.close();
        return results;
      },
      { socket: daemon.socket, image, target, keys: KEYS, method },
    );
    assert.deepEqual(accepted, []);
    assert.deepEqual(readdirSync(target), []);
  });
}

test('the programs know no mount option for an upper or a work directory', () => {
  // Without its loader, the program itself is in that place.
  const daemon = existsSync(join(DIST, 'code/cfsmountd.cjs')) ? 'code/cfsmountd.cjs' : 'cfsmountd';
  for (const program of [daemon, 'cfsmountd-worker.cjs']) {
    const text = readFileSync(join(DIST, program), 'utf8');
    assert.doesNotMatch(text, /upperdir|workdir/, program);
    assert.match(text, /lowerdir\+|fsmount/, 'the test reads the right file');
  }
});

for (const name of ['plain', 'sample']) {
  test(
    `nothing can be written through a mount, by root of its namespace: ${name}`,
    { skip: name === 'sample' && withoutSample() },
    async () => {
      const { attempts, superblock } = await actor.do(
        ({ client, fs, libc, mount }, { address, name }) => {
          const connection = client.connect({ address });
          const received: OwnedFd = connection.mountImage(name).mount;
          connection.close();
          const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
          client.attach(received, directory);
          received.close();
          const first = `${directory}/${fs.readdirSync(directory)[0]!}`;
          const code = (attempt: () => unknown): string => {
            try {
              attempt();
              return 'done';
            } catch (error) {
              return (error as { code?: string }).code ?? String(error);
            }
          };
          const setxattr = libc.bind('setxattr', ['path', 'path', 'buffer', 'u64', 'int']);
          const attempts = {
            create: code(() => fs.writeFileSync(`${directory}/new`, 'x')),
            mkdir: code(() => fs.mkdirSync(`${directory}/new`)),
            chmod: code(() => fs.chmodSync(first, 0o777)),
            chown: code(() => fs.chownSync(first, 0, 0)),
            rename: code(() => fs.renameSync(first, `${directory}/new`)),
            remove: code(() => fs.rmSync(first, { recursive: true })),
            touch: code(() => fs.utimesSync(first, 1, 1)),
            xattr: code(() => setxattr(first, 'user.x', Buffer.from('x'), 1, 0)),
          };
          const line = fs
            .readFileSync('/proc/self/mountinfo', 'utf8')
            .split('\n')
            .find((text) => text.includes(` ${directory} `))!;
          mount.umount2(directory, mount.MNT_DETACH);
          fs.rmdirSync(directory);
          return { attempts, superblock: line.split(' ').at(-1)! };
        },
        { address: daemon.address, name },
      );
      assert.deepEqual(
        Object.entries(attempts).filter(([, result]) => result !== 'EROFS'),
        [],
      );
      assert.match(superblock, /^ro(,|$)/, 'the superblock is read-only, not the mount alone');
      assert.doesNotMatch(superblock, /upperdir|workdir/);
    },
  );
}
