// A caller that writes to its image while the service reads it, and after: what is mounted are the trusted bytes, or nothing.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4711;
const scratch = makeScratch();
const original = join(scratch.path, 'plain.erofs');
const own = join(scratch.path, 'own.erofs');
let daemon: Daemon;
let actor: Actor;
let digest: string;

before(async () => {
  digest = makeErofs(original, { 'hello.txt': 'hello\n', 'large.txt': 'x'.repeat(40_000) });
  copyFileSync(original, own);
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

test("a caller's file rewritten at any moment is refused or mounted with the trusted bytes", async () => {
  const mine = join(scratch.path, 'mine');
  copyFileSync(original, mine);
  chmodSync(mine, 0o666);
  const writer = await startActor({ uid: UID, namespace: 'none' });
  try {
    const writing = writer.do(
      async ({ fs }, { mine, original, durationMs }) => {
        const good = fs.readFileSync(original);
        const bad = Buffer.from(good);
        for (let at = bad.indexOf('hello\n'); at >= 0; at = bad.indexOf('hello\n', at + 1)) bad.write('wrong\n', at);
        const fd = fs.openSync(mine, 'r+');
        const end = Date.now() + durationMs;
        let rewritten = 0;
        for (; Date.now() < end; rewritten++) {
          fs.writeSync(fd, rewritten % 2 ? good : bad, 0, good.length, 0);
          // Some of the time either version stands still for long enough to be read whole.
          if (rewritten % 7 < 2) await new Promise((done) => setTimeout(done, rewritten % 5));
        }
        fs.writeSync(fd, bad, 0, bad.length, 0);
        fs.closeSync(fd);
        return rewritten;
      },
      { mine, original, durationMs: 4_000 },
    );
    writing.catch(() => {}); // looked at below; the caller's failure comes first
    const seen = await actor.do(
      ({ client, file, fs, mount }, { address, mine, durationMs }) => {
        const connection = client.connect({ address });
        const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
        const counts: Record<string, number> = {};
        const count = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1);
        for (const end = Date.now() + durationMs; Date.now() < end;) {
          const opened = file.openPath(mine, file.O_RDONLY);
          try {
            const { mount: received, result } = connection.mountFile(opened, []);
            client.attach(received, directory);
            received.close();
            try {
              count(`${result.digest} ${fs.readFileSync(`${directory}/hello.txt`, 'utf8')}`);
            } finally {
              mount.umount2(directory, mount.MNT_DETACH);
            }
          } catch (error) {
            const { code, message } = error as { code?: string; message: string };
            count(code === 'NotTrusted' || code === 'BadImage' ? code : `${code}: ${message}`);
          } finally {
            opened.close();
          }
        }
        fs.rmdirSync(directory);
        return counts;
      },
      { address: daemon.address, mine, durationMs: 3_500 },
    );
    assert.ok((await writing) > 100, 'the file was rewritten all the while');
    const { [`${digest} hello\n`]: good = 0, NotTrusted = 0, BadImage = 0, ...rest } = seen;
    assert.deepEqual(rest, {}, 'nothing but the trusted bytes, or a refusal');
    assert.ok(good > 0 && NotTrusted + BadImage > 0, `both happened: ${JSON.stringify(seen)}`);
  } finally {
    await writer.stop();
  }
});

test('a mount made before its file was rewritten keeps the bytes it was made of', async () => {
  const bytes = readFileSync(original);
  await actor.do(
    ({ client, file, fs, store }, { address, own }) => {
      const connection = client.connect({ address });
      const opened = file.openPath(own, file.O_RDONLY);
      const { mount: received } = connection.mountFile(opened, []);
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      client.attach(received, directory);
      received.close();
      opened.close();
      connection.close();
      store['kept'] = directory;
    },
    { address: daemon.address, own },
  );
  writeFileSync(own, Buffer.alloc(bytes.length, 0x41));
  const seen = await actor.do(({ fs, mount, store }) => {
    const directory = store['kept'] as string;
    const texts = ['hello.txt', 'large.txt'].map((name) => fs.readFileSync(`${directory}/${name}`, 'utf8'));
    mount.umount2(directory, mount.MNT_DETACH);
    fs.rmdirSync(directory);
    return texts;
  }, {});
  copyFileSync(original, own);
  assert.deepEqual(seen, ['hello\n', 'x'.repeat(40_000)]);
});
