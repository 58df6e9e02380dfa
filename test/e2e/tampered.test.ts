// An image that is not the one trusted, in any way: refused or unchanged, never mounted wrong. One daemon and one actor for all of it:
// an image of a repository is changed where it lies, and so is a caller's file.
import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4711;
/** The composefs header is in the first 32 bytes, the EROFS superblock at 1024 to 1152: every byte up to there is tried. */
const HEADER_END = 1152;
const BLOCK = 4096;
/** Bytes beyond the headers that are tried, evenly spread with a prime step. */
const OTHERS = 200;

interface Case {
  readonly kind: 'erofs' | 'composefs';
  /** What it was made as, unchanged. */
  readonly original: string;
  readonly digest: string;
  /** In the repository, and of the caller. */
  readonly stored: string;
  readonly own: string;
}

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const cases: Case[] = [];
let daemon: Daemon;
let actor: Actor;

function addCase(kind: Case['kind'], original: string, digest: string): void {
  const hex = digest.slice('sha256:'.length);
  const own = join(scratch.path, `own-${kind}`);
  copyFileSync(original, own);
  chmodSync(own, 0o644);
  cases.push({ kind, original, digest, stored: realpathSync(join(repository, 'images', hex)), own });
}

before(async () => {
  const plain = join(scratch.path, 'plain.erofs');
  if (!withoutSample()) {
    const digest = makeSampleRepository(repository);
    addCase('composefs', join(scratch.path, 'sample.cfs'), digest);
  }
  const digest = makeErofs(plain, { 'hello.txt': 'hello\n', 'large.txt': 'x'.repeat(40_000) });
  addToRepository(repository, plain, 'plain');
  addCase('erofs', plain, digest);
  const digests = cases.map((entry) => entry.digest);
  daemon = await startDaemon({ policy: policyText({ digests, repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

type Verdict = { code?: string | undefined; mounted?: string };

/** What becomes of a request: the digest of the mount that came, or the code of the refusal. */
function ask(request: { image?: string; file?: string; digest?: string }): Promise<Verdict> {
  return actor.do(
    ({ client, file, store }, { address, request }) => {
      const connection = (store['connection'] ??= client.connect({ address })) as ReturnType<typeof client.connect>;
      const options = request.digest === undefined ? {} : { digest: request.digest };
      const opened = request.file === undefined ? undefined : file.openPath(request.file, file.O_RDONLY);
      try {
        const { mount, result } = opened
          ? connection.mountFile(opened, [], options)
          : connection.mountImage(request.image!, options);
        mount.close();
        return { mounted: result.digest };
      } catch (error) {
        return { code: (error as { code?: string }).code };
      } finally {
        opened?.close();
      }
    },
    { address: daemon.address, request },
  );
}

function assertRefused(verdict: Verdict, codes: readonly string[], what: string): void {
  assert.equal(verdict.mounted, undefined, `mounted: ${what}`);
  assert.ok(verdict.code !== undefined && codes.includes(verdict.code), `${verdict.code} for ${what}`);
}

/** Root changes the file in place, as a broken disk would: the kernel's ctime shows it, the digest must. */
function replaceByte(path: string, offset: number, change: (byte: number) => number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] = change(byte[0]!);
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}

function offsetsOf({ original }: Case): number[] {
  const { size } = statSync(original);
  const others = Array.from({ length: OTHERS }, (_, i) => HEADER_END + ((i * 7919 * BLOCK + i * 31) % (size - HEADER_END)));
  return [...Array.from({ length: HEADER_END }, (_, i) => i), ...others, size - 1];
}

for (const kind of ['erofs', 'composefs'] as const) {
  const skip = kind === 'composefs' ? withoutSample() : false;
  const find = (): Case => cases.find((entry) => entry.kind === kind)!;

  test(`${kind}: unchanged, it is mounted from the repository and from a file`, { skip }, async () => {
    const { digest, own } = find();
    assert.deepEqual(await ask({ image: digest }), { mounted: digest });
    assert.deepEqual(await ask({ file: own }), { mounted: digest });
  });

  test(`${kind}: one flipped bit in an image of the repository is refused, wherever it is`, { skip }, async () => {
    const { digest, stored, original } = find();
    for (const offset of offsetsOf(find())) {
      const bit = 1 << (offset % 8);
      replaceByte(stored, offset, (byte) => byte ^ bit);
      assertRefused(await ask({ image: digest }), ['BadImage'], `byte ${offset}`);
      replaceByte(stored, offset, (byte) => byte ^ bit);
    }
    assert.ok(readFileSync(stored).equals(readFileSync(original)));
    assert.deepEqual(await ask({ image: digest }), { mounted: digest }, 'mended, it is mounted again');
  });

  test(`${kind}: one flipped bit in a caller's file is refused, also when the digest expected is given`, { skip }, async () => {
    const { own } = find();
    for (const offset of offsetsOf(find())) {
      const bit = 1 << (offset % 8);
      replaceByte(own, offset, (byte) => byte ^ bit);
      assertRefused(await ask({ file: own }), ['NotTrusted', 'BadImage'], `byte ${offset}`);
      replaceByte(own, offset, (byte) => byte ^ bit);
    }
  });

  test(`${kind}: a changed file with the trusted digest as its name gives the trusted bytes or nothing`, { skip }, async () => {
    const { own, digest } = find();
    const bytes = readFileSync(own);
    for (const offset of [0, 8, 1024, 1100, bytes.length - 1]) {
      replaceByte(own, offset, (byte) => byte ^ 1);
      const verdict = await ask({ file: own, digest });
      // The service may have kept a copy with that digest: then it is the copy that is mounted, and it has these very bytes.
      if (verdict.mounted !== undefined) assert.equal(verdict.mounted, digest);
      else assertRefused(verdict, ['NotTrusted', 'BadImage'], `byte ${offset}`);
      replaceByte(own, offset, (byte) => byte ^ 1);
    }
    const seen = await readThroughMount(actor, daemon.address, own, digest);
    assert.equal(seen, kind === 'erofs' ? 'hello\n' : 'directory');
  });

  test(`${kind}: truncated, at each block and at odd sizes, it is refused`, { skip }, async () => {
    const { own, stored, original, digest } = find();
    const { size } = statSync(original);
    const blocks = Array.from({ length: Math.ceil(size / BLOCK) }, (_, i) => i * BLOCK);
    // A large image has many blocks: no more than 60 of them, the first and the last ones among them.
    const some = blocks.length <= 60 ? blocks : [...blocks.slice(0, 30), ...blocks.slice(-30)];
    for (const length of [...some, 1, 31, 32, 1023, 1024, 1151, 1152, 4095, 4097, size - 1, size + 1, size + BLOCK]) {
      if (length === size) continue;
      for (const path of [own, stored]) {
        truncateSync(path, length);
        const verdict = await ask(path === own ? { file: own } : { image: digest });
        assertRefused(verdict, ['NotTrusted', 'BadImage'], `${length} of ${size} bytes`);
        copyFileSync(original, path);
      }
    }
    assert.deepEqual(await ask({ file: own }), { mounted: digest });
  });
}

/** What a caller reads in a mount of its file: the text of hello.txt, or what the root is. */
function readThroughMount(who: Actor, address: string, path: string, digest: string): Promise<string> {
  return who.do(
    ({ client, file, fs, mount }, { address, path, digest }) => {
      const connection = client.connect({ address });
      const opened = file.openPath(path, file.O_RDONLY);
      const { mount: received } = connection.mountFile(opened, [], { digest });
      opened.close();
      connection.close();
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      client.attach(received, directory);
      received.close();
      const hello = `${directory}/hello.txt`;
      const text = fs.existsSync(hello)
        ? fs.readFileSync(hello, 'utf8')
        : fs.statSync(directory).isDirectory()
          ? 'directory'
          : '';
      mount.umount2(directory, mount.MNT_DETACH);
      fs.rmdirSync(directory);
      return text;
    },
    { address, path, digest },
  );
}

/** Everything a digest is not, for one that is one. */
function malformed(digest: string): Record<string, string> {
  const hex = digest.slice('sha256:'.length);
  return {
    empty: '',
    'the algorithm alone': 'sha256:',
    'no algorithm': hex,
    'one digit short': digest.slice(0, -1),
    'one digit long': `${digest}0`,
    'upper-case digits': `sha256:${hex.toUpperCase()}`,
    'upper-case algorithm': `SHA256:${hex}`,
    'the other algorithm': `sha512:${hex}`,
    'a space before': ` ${digest}`,
    'a newline behind': `${digest}\n`,
    'a dash for the colon': `sha256-${hex}`,
    'not a digit': `sha256:${hex.slice(0, -1)}g`,
  };
}

const SOME_DIGEST = `sha256:${'ab'.repeat(32)}`;

for (const what of Object.keys(malformed(SOME_DIGEST))) {
  test(`a digest that is none is refused as option, as image and in the policy: ${what}`, async () => {
    const { digest, own } = cases.find((entry) => entry.kind === 'erofs')!;
    const bad = malformed(digest)[what]!;
    assertRefused(await ask({ file: own, digest: bad }), ['BadRequest'], 'option of a file');
    assertRefused(await ask({ image: digest, digest: bad }), ['BadRequest'], 'option of an image');
    assertRefused(await ask({ image: bad }), ['BadRequest', 'NoSuchImage'], 'image');
    // A newline inside a TOML string needs its escape.
    const text = policyText({ digests: [bad.replace('\n', '\\n')] });
    await assert.rejects(startDaemon({ policy: text }), /ended with 1: .*test\.toml:\d+: .*/s);
  });
}

test('a digest that differs in one digit from the trusted one is not trusted', async () => {
  const { digest, own } = cases.find((entry) => entry.kind === 'erofs')!;
  for (let i = 'sha256:'.length; i < digest.length; i++) {
    const other = digest.slice(0, i) + (digest[i] === '0' ? '1' : '0') + digest.slice(i + 1);
    assertRefused(await ask({ image: other }), ['NotTrusted'], other);
    assertRefused(await ask({ file: own, digest: other }), ['NotTrusted', 'BadImage'], other);
    assertRefused(await ask({ image: digest, digest: other }), ['NotTrusted', 'BadImage'], other);
  }
});
