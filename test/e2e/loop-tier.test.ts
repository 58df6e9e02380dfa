// Files that EROFS cannot read by itself (ENOTBLK): on tmpfs and on overlayfs it reads them through a loop device.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfFile, makeErofs, policyText } from '../support/images.js';
import { DIST, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import type { Kit } from '../support/kit.js';

const scratch = makeScratch();
const mounted: string[] = [];
let daemon: Daemon | undefined;
let actor: Actor | undefined;
afterEach(async () => {
  await actor?.stop();
  await daemon?.stop();
});
after(() => {
  for (const directory of mounted.reverse()) run('umount', directory);
  scratch.remove();
});

function onTmpfs(directory: string): void {
  run('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'tmpfs', directory);
  mounted.push(directory);
}

function onOverlayfs(directory: string): void {
  const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => `${directory}-${name}`) as [string, string, string];
  for (const path of [lower, upper, work]) mkdirSync(path);
  run('mount', '-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`, directory);
  mounted.push(directory);
}

function loopsBelow(directory: string): number {
  const files = run('losetup', '--list', '--noheadings', '--output', 'BACK-FILE').split('\n');
  return files.filter((file) => file.startsWith(directory)).length;
}

interface Seen {
  readonly type: string;
  readonly text: string;
  readonly backing: string[];
}

/** Mounts by name or from a file, reads, and tells what is behind the loop devices meanwhile. */
function mountAndRead(
  { client, file, fs, mount }: Kit,
  { address, image, isFile }: { address: string; image: string; isFile: boolean },
): Seen {
  const connection = client.connect({ address });
  const opened = isFile ? file.openPath(image, file.O_RDONLY) : undefined;
  const { mount: received, result } = opened ? connection.mountFile(opened, []) : connection.mountImage(image);
  opened?.close();
  const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
  client.attach(received, directory);
  received.close();
  const text = fs.readFileSync(`${directory}/large.txt`, 'utf8');
  const devices = fs.readdirSync('/sys/block').filter((name) => fs.existsSync(`/sys/block/${name}/loop/backing_file`));
  const backing = devices.map((name) => fs.readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim());
  mount.umount2(directory, mount.MNT_DETACH); // the service may be closing its own descriptor
  fs.rmdirSync(directory);
  connection.close();
  return { type: result.type, text, backing };
}

const TEXT = 'longer than what is kept in the image itself\n'.repeat(10);

for (const [name, mountOver] of Object.entries({ tmpfs: onTmpfs, overlayfs: onOverlayfs })) {
  test(`repository, image and private copies on ${name}: mounted through loop devices, which go with their mounts`, async () => {
    const place = join(scratch.path, name);
    mkdirSync(place);
    mountOver(place);
    const repository = join(place, 'repository');
    const tree = join(place, 'tree');
    mkdirSync(tree);
    mkdirSync(join(repository, 'objects'), { recursive: true });
    writeFileSync(join(tree, 'large.txt'), TEXT);
    const composefs = join(place, 'image.cfs');
    run(join(DIST, 'cfsctl'), 'mkfs', '--digest-store', join(repository, 'objects'), tree, composefs);
    addToRepository(repository, composefs, 'tree');
    const plain = join(place, 'plain.erofs');
    makeErofs(plain, { 'large.txt': TEXT });
    run('chmod', '-R', 'u=rwX,go=rX', place);
    const digests = [composefs, plain].map((path) => digestOfFile(path));
    daemon = await startDaemon({
      policy: policyText({ digests, repositories: { [repository]: 'trusted' } }),
      flags: ['--state-dir', join(place, 'state')],
    });
    actor = await startActor({ uid: 4711 });
    const { address } = daemon;
    const byName = await actor.do(mountAndRead, { address, image: 'tree', isFile: false });
    assert.deepEqual([byName.type, byName.text], ['composefs', TEXT]);
    assert.ok(
      byName.backing.some((path) => path.includes('/objects/')),
      `loop devices show ${byName.backing.join(', ')}`,
    );
    const fromFile = await actor.do(mountAndRead, { address, image: plain, isFile: true });
    assert.deepEqual([fromFile.type, fromFile.text], ['erofs', TEXT]);
    assert.ok(loopsBelow(place) > 0);
    assert.ok(
      fromFile.backing.some((path) => path.startsWith(join(place, 'state'))),
      `loop devices show ${fromFile.backing.join(', ')}`,
    );
    daemon.process.kill('SIGHUP'); // lets go of the superblocks that are kept for the next mount
    await daemon.eventually('no loop device is left', () => loopsBelow(place) === 0);
  });
}
