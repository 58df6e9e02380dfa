// Row 15: a digest that is empty, short or misspelt must never mean "do not check". Defences: one strict parser of digests for every
// place where one can stand, and the comparison with what was measured.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const repository = join(scratch.path, 'repository');
const digest = makeErofs(image, { hello: 'hello\n' });
const hex = digest.slice('sha256:'.length);
let daemon: Daemon;
let actor: Actor;

before(async () => {
  addToRepository(repository, image, 'base');
  daemon = await startDaemon({ policy: policyText({ digests: [digest], repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: 4715 });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

type Place = 'image' | 'option of MountImage' | 'option of MountFile' | 'option of CheckFile' | 'image of CheckImage';

/** Puts the text where a digest can stand, in a request that is right otherwise. */
function ask(place: Place, text: string): Promise<string> {
  return actor.do(
    ({ file, rawCall, variants }, { socket, image, place, text }) => {
      const option = [['digest', variants.variant('s', text)]];
      const userns = file.openPath('/proc/self/ns/user', file.O_RDONLY);
      const fd = file.openPath(image, file.O_RDONLY);
      const calls = {
        image: { member: 'MountImage', signature: 'sha{sv}', body: [text, 0, []], fds: [userns] },
        'option of MountImage': { member: 'MountImage', signature: 'sha{sv}', body: ['base', 0, option], fds: [userns] },
        'option of MountFile': { member: 'MountFile', signature: 'hahha{sv}', body: [1, [], 0, option], fds: [userns, fd] },
        'option of CheckFile': { member: 'CheckFile', signature: 'haha{sv}', body: [0, [], option], fds: [fd] },
        'image of CheckImage': { member: 'CheckImage', signature: 'sa{sv}', body: [text, []], fds: [] },
      };
      try {
        return rawCall.callRaw(socket, calls[place]).what;
      } finally {
        userns.close();
        fd.close();
      }
    },
    { socket: daemon.socket, image, place, text },
  );
}

const PLACES: readonly Place[] = [
  'image',
  'option of MountImage',
  'option of MountFile',
  'option of CheckFile',
  'image of CheckImage',
];

const WRONG: readonly (readonly [string, string])[] = [
  ['empty', ''],
  ['a space', ' '],
  ['algorithm alone', 'sha256:'],
  ['algorithm without colon', 'sha256:'.slice(0, -1) + hex],
  ['no algorithm', `:${hex}`],
  ['one digit', 'sha256:0'],
  ['one digit short (odd)', digest.slice(0, -1)],
  ['two digits short', digest.slice(0, -2)],
  ['one digit long', `${digest}0`],
  ['twice as long', `${digest}${hex}`],
  ['upper case', `sha256:${hex.toUpperCase()}`],
  ['algorithm in upper case', `SHA256:${hex}`],
  ['not hexadecimal', `sha256:${'g'.repeat(64)}`],
  ['newline at the end', `${digest}\n`],
  ['space in front', ` ${digest}`],
  ['0x in front', `sha256:0x${hex.slice(2)}`],
  ['a digest of the other length', `sha512:${hex}`],
  ['sha512 length as sha256', `sha256:${hex}${hex}`],
  ['unknown algorithm', `sha1:${hex.slice(0, 40)}`],
  ['unknown algorithm of the same length', `blake3:${hex}`],
  ['two digests', `${digest},${digest}`],
  ['full-width digits', `sha256:${'\uff10'.repeat(64)}`],
];

for (const place of PLACES) {
  for (const [name, text] of WRONG) {
    // 'sha256' and 64 digits without a colon is a proper name of an image, which there is none of.
    const isName = !text.includes(':') && text.length > 1 && place.startsWith('image');
    test(`a wrong digest as ${place} is refused: ${name}`, async () => {
      assert.equal(await ask(place, text), isName ? 'NoSuchImage' : 'BadRequest');
    });
  }
}

test('a digest of the right form that is not the image’s is refused, wherever it stands', async () => {
  const other = `sha256:${'0'.repeat(64)}`;
  const outcomes: Record<string, string> = {};
  for (const place of PLACES) outcomes[place] = await ask(place, other);
  assert.deepEqual(outcomes, {
    image: 'NotTrusted',
    'option of MountImage': 'BadImage',
    'option of MountFile': 'BadImage',
    'option of CheckFile': 'BadImage',
    'image of CheckImage': 'NotTrusted',
  });
});

test('the digest of the image is accepted, wherever it stands', async () => {
  for (const place of PLACES) assert.equal(await ask(place, digest), 'reply', place);
});
