// Row 13: a name, or a symlink inside a repository, that leads out of it. Every way out leads to an image that the caller may mount, so
// that an escape would be seen as a mount. Defences: names of few characters; the one form of symlink that is followed; resolution
// strictly beneath the repository; regular files only.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const outside = join(scratch.path, 'outside');
let daemon: Daemon;
let actor: Actor;

/** A trusted image for each trap, so that no two have the same digest, nor a directory of objects in common. */
const digests: string[] = [];
const directoryOf = (digest: string): string => digest.slice('sha256:'.length, 'sha256:xx'.length);

function makeImage(content: string): { path: string; hex: string } {
  const path = join(outside, `${digests.length}.erofs`);
  const taken = new Set(['00', ...digests.map(directoryOf)]);
  let digest = '';
  for (let i = 0; digest === '' || taken.has(directoryOf(digest)); i++) digest = makeErofs(path, { hello: `${content} ${i}` });
  digests.push(digest);
  return { path, hex: digest.slice('sha256:'.length) };
}

interface Trap {
  /** What is asked for. */
  readonly image: string;
}

const inRepository = (...parts: string[]): string => {
  const path = join(repository, ...parts);
  mkdirSync(dirname(path), { recursive: true });
  return path;
};

/** Each sets something up as root, by mistake or with another tool, and says which image would show the escape. */
const TRAPS: Readonly<Record<string, () => Trap>> = {
  'images/<digest> → an absolute path outside': () => {
    const { path, hex } = makeImage('absolute');
    symlinkSync(path, inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'images/<digest> → ../../ outside': () => {
    const { path, hex } = makeImage('relative');
    symlinkSync(join('../../outside', path.slice(outside.length)), inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'images/<digest> → ../objects/../../outside': () => {
    const { path, hex } = makeImage('dots');
    symlinkSync(join('..') + '/objects/../../outside' + path.slice(outside.length), inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'images/<digest> → a magic link of /proc': () => {
    const { hex } = makeImage('proc');
    symlinkSync('/proc/self/root/etc/passwd', inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'objects/xx is a symlink to a directory outside': () => {
    const { path, hex } = makeImage('directory');
    symlinkSync(outside, inRepository('objects', hex.slice(0, 2)));
    copyFileSync(path, join(outside, hex.slice(2)));
    symlinkSync(`../objects/${hex.slice(0, 2)}/${hex.slice(2)}`, inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'the object is a symlink to a file outside': () => {
    const { path, hex } = makeImage('object');
    const object = `objects/${hex.slice(0, 2)}/${hex.slice(2)}`;
    symlinkSync(path, inRepository(object));
    symlinkSync(`../${object}`, inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'the object is a symlink to another object': () => {
    const { path, hex } = makeImage('chain');
    const object = `objects/${hex.slice(0, 2)}/${hex.slice(2)}`;
    copyFileSync(path, inRepository('objects', '00', '0'.repeat(62)));
    symlinkSync(`../00/${'0'.repeat(62)}`, inRepository(object));
    symlinkSync(`../${object}`, inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'images/<digest> → images/<other> (a chain)': () => {
    const { path, hex } = makeImage('images');
    copyFileSync(path, inRepository('images', 'other'));
    symlinkSync('other', inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'a ref → a file outside': () => {
    const { path } = makeImage('ref');
    symlinkSync(path, inRepository('images/refs/out'));
    return { image: 'out' };
  },
  'a ref → ../../../etc': () => {
    symlinkSync('../../../etc/passwd', inRepository('images/refs/etc'));
    return { image: 'etc' };
  },
  'a ref → another ref': () => {
    const { path } = makeImage('second');
    addToRepository(repository, path, 'second');
    symlinkSync('second', inRepository('images/refs/first'));
    return { image: 'first' };
  },
  'a ref → a digest by a way around': () => {
    const { path } = makeImage('around');
    const hex = addToRepository(repository, path).slice('sha256:'.length);
    symlinkSync(`../../images/${hex}`, inRepository('images/refs/around'));
    return { image: 'around' };
  },
  'a directory of refs that is a symlink to one outside': () => {
    const { path } = makeImage('refs');
    const hex = addToRepository(repository, path).slice('sha256:'.length);
    mkdirSync(join(outside, 'refs'));
    symlinkSync(`../../${hex}`, join(outside, 'refs', 'base'));
    symlinkSync(join(outside, 'refs'), inRepository('images/refs/linked'));
    return { image: 'linked/base' };
  },
  'a ref that is a regular file': () => {
    const { hex } = makeImage('file');
    writeFileSync(inRepository('images/refs/regular'), hex);
    return { image: 'regular' };
  },
  'images/<digest> is a FIFO': () => {
    const { hex } = makeImage('fifo');
    run('mkfifo', inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
  'images/<digest> is a directory': () => {
    const { hex } = makeImage('directory');
    mkdirSync(inRepository('images', hex), { recursive: true });
    return { image: `sha256:${hex}` };
  },
  'images/<digest> is a device': () => {
    const { hex } = makeImage('device');
    run('mknod', inRepository('images', hex), 'c', '1', '5');
    return { image: `sha256:${hex}` };
  },
  'the object is a FIFO': () => {
    const { hex } = makeImage('object fifo');
    const object = `objects/${hex.slice(0, 2)}/${hex.slice(2)}`;
    run('mkfifo', inRepository(object));
    symlinkSync(`../${object}`, inRepository('images', hex));
    return { image: `sha256:${hex}` };
  },
};

const traps = new Map<string, Trap>();

before(async () => {
  mkdirSync(outside);
  const { path } = makeImage('good');
  addToRepository(repository, path, 'team/good');
  for (const [name, set] of Object.entries(TRAPS)) traps.set(name, set());
  const extra = `[[repository]]\npath = "${repository}"\nobjects = "verity"\n`;
  daemon = await startDaemon({ policy: policyText({ digests, extra }) });
  actor = await startActor({ uid: 4724 });
});
after(async () => {
  await actor?.stop();
  await daemon?.kill(); // without its defences it may hang
  scratch.remove();
});

/** MountImage and CheckImage. Returns both outcomes. */
function ask(image: string): Promise<[string, string]> {
  return actor.do(
    ({ file, rawCall }, { socket, image }): [string, string] => {
      const userns = file.openPath('/proc/self/ns/user', file.O_RDONLY);
      try {
        const mount = { member: 'MountImage', signature: 'sha{sv}', body: [image, 0, []], fds: [userns] };
        const check = { member: 'CheckImage', signature: 'sa{sv}', body: [image, []] };
        return [rawCall.callRaw(socket, mount, 5_000).what, rawCall.callRaw(socket, check, 5_000).what];
      } finally {
        userns.close();
      }
    },
    { socket: daemon.socket, image },
  );
}

afterEach(async () => {
  assert.deepEqual(await ask('team/good'), ['reply', 'reply'], 'the repository serves the next caller');
});

for (const name of Object.keys(TRAPS)) {
  test(`not followed: ${name}`, async () => {
    assert.deepEqual(await ask(traps.get(name)!.image), ['NoSuchImage', 'NoSuchImage']);
  });
}

const NAMES: readonly (readonly [string, string])[] = [
  ['empty', ''],
  ['.', '.'],
  ['..', '..'],
  ['../ in front', '../refs/team/good'],
  ['out and in again', '../../images/refs/team/good'],
  ['.. in the middle', 'team/../team/good'],
  ['.. at the end', 'team/good/..'],
  ['. in the middle', 'team/./good'],
  ['images/../objects', 'images/../objects'],
  ['absolute', '/etc/passwd'],
  ['absolute within', `${repository}/images/refs/team/good`],
  ['two slashes', 'team//good'],
  ['slash in front', '/team/good'],
  ['slash at the end', 'team/good/'],
  ['backslash', 'team\\good'],
  ['percent', 'team%2fgood'],
  ['space at the end', 'team/good '],
  ['newline at the end', 'team/good\n'],
  ['dot file', '.hidden'],
  ['option', '-o'],
  ['not ASCII', 'teäm/good'],
  ['full-width dots', '\uff0e\uff0e/good'],
  ['escape', '\u001b[2J'],
  ['256 bytes', 'a'.repeat(256)],
  ['4096 bytes', 'a'.repeat(4096)],
  ['4096 bytes of ../', '../'.repeat(1365) + 'a'],
  ['nine parts', 'a/'.repeat(8) + 'a'],
];

for (const [what, name] of NAMES) {
  test(`a bad name is a bad request: ${what}`, async () => {
    assert.deepEqual(await ask(name), ['BadRequest', 'BadRequest']);
  });
}

test('names at the limit are looked up, and are not there', async () => {
  for (const name of ['a'.repeat(255), 'a/'.repeat(7) + 'a', 'team', 'team/good/more']) {
    assert.deepEqual(await ask(name), ['NoSuchImage', 'NoSuchImage'], name);
  }
});

test('a name that holds a NUL ends the connection', async () => {
  const what = await actor.do(
    ({ rawCall }, { socket }) => {
      const damage = (message: Buffer): void => void message.write('\0', message.indexOf('good') - 1, 'latin1');
      return rawCall.callRaw(socket, { member: 'CheckImage', signature: 'sa{sv}', body: ['team/good', []], damage }).what;
    },
    { socket: daemon.socket },
  );
  assert.equal(what, 'dropped');
});

test('none of the traps is listed as an image', async () => {
  const names = await actor.do(
    ({ client }, { address }) =>
      client
        .connect({ address })
        .listImages()
        .map(({ name, digest }) => name || digest),
    {
      address: daemon.address,
    },
  );
  for (const [name, { image }] of traps) assert.ok(!names.includes(image), name);
  assert.ok(names.includes('team/good'));
});
