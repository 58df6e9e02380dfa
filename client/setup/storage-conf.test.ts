import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseTOML, getStaticTOMLValue } from 'toml-eslint-parser';
import { RequestError } from '../../core/wire/errors.js';
import { formatDiff } from './diff.js';
import { addToStorageConf, removeFromStorageConf } from './storage-conf.js';

const STORE = '/var/lib/cfsmountd/podman';
const wish = { store: STORE, mountProgram: undefined };
const withProgram = { store: STORE, mountProgram: '/usr/bin/cfs-overlay' };
const add = (text: string, what: typeof wish | typeof withProgram = wish): string => addToStorageConf('storage.conf', text, what);
const remove = (text: string, store = STORE): string => removeFromStorageConf('storage.conf', text, store);
const read = (text: string): unknown => getStaticTOMLValue(parseTOML(text, { tomlVersion: '1.0' }));

test('nothing there: a whole file', () => {
  assert.equal(
    add('', withProgram),
    `[storage] # cfsctl setup podman
driver = "overlay" # cfsctl setup podman

[storage.options] # cfsctl setup podman
additionalimagestores = ["/var/lib/cfsmountd/podman"] # cfsctl setup podman

[storage.options.overlay] # cfsctl setup podman
mount_program = "/usr/bin/cfs-overlay" # cfsctl setup podman
`,
  );
});

const files: readonly string[] = [
  '[storage]\ndriver = "overlay"\n',
  '[storage]\n',
  '# mine\n[storage] # mine\ndriver = "overlay" # mine\ngraphroot = "/data/containers"\n',
  '[storage.options]\nadditionalimagestores = []\n',
  '[storage.options]\nadditionalimagestores = [ ]\n',
  '[storage.options]\nadditionalimagestores = [\n]\n',
  '[storage.options]\nadditionalimagestores = ["/a"]\n',
  '[storage.options]\nadditionalimagestores = ["/a",]\n',
  '[storage.options]\nadditionalimagestores = ["/a", "/b" ] # two\n',
  '[storage.options]\nadditionalimagestores = [\n  "/a"\n]\n',
  '[storage.options]\nadditionalimagestores = [\n  "/a",\n]\n',
  '[storage.options]\nadditionalimagestores = [\n  "/a", # a\n  "/b" # b, the last\n  # end\n]\n',
  '[storage.options]\nadditionalimagestores = [\n  "/a", # a\n  "/b", # b, the last\n]\n[storage]\ndriver = "overlay"\n',
  '[storage.options]\nadditionalimagestores = [\n  "/a" ]\n',
  '[storage.options]\nadditionalimagestores = [\n\t"/a"]\n',
  '[storage.options]\nadditionalimagestores = [ "/a"\n, "/b"\n]\n',
  '[storage.options.overlay]\nmountopt = "nodev"\n\n[storage.options]\nsize = ""\n',
  '[storage]\ndriver = "overlay"\noptions.additionalimagestores = ["/a"]\n',
  '[ "storage" ]\n"driver" = \'overlay\'\n',
  'storage.driver = "overlay"\n',
  '\n\n[other]\nx = 1\n\n\n',
  '[storage]\r\ndriver = "overlay"\r\n',
  '[storage.options]\r\nadditionalimagestores = [\r\n  "/a"\r\n]\r\n',
];
for (const text of files) {
  test(`added, added again, and taken out: ${JSON.stringify(text)}`, () => {
    const added = add(text);
    assert.ok((read(added) as any).storage.options.additionalimagestores.includes(STORE)); // oxlint-disable-line typescript/no-explicit-any
    assert.equal((read(added) as any).storage.driver, 'overlay'); // oxlint-disable-line typescript/no-explicit-any
    assert.equal(add(added), added);
    assert.equal(remove(added), text);
    assert.equal(remove(added, '/another/store'), text);
    assert.equal(remove(text), text);
  });
}

test('a store beside those of the user is on a line that ends with the mark', () => {
  assert.equal(
    add('[storage.options]\nadditionalimagestores = ["/a"] # mine\n').split('\n').slice(1, 3).join('\n'),
    `additionalimagestores = ["/a", "${STORE}" # cfsctl setup podman\n] # mine`,
  );
  assert.match(
    add('[storage.options]\nadditionalimagestores = [\n    "/a"\n]\n'),
    /^    "\/a",\n    "\/var\/lib\/cfsmountd\/podman" # cfsctl setup podman\n\]$/m,
  );
});

test('taken out: every store of ours, whichever it is, and with it the whole file', () => {
  const one = addToStorageConf('storage.conf', '', { store: '/one', mountProgram: '/usr/bin/cfs-overlay' });
  assert.equal(remove(one), '');
  assert.equal(remove(addToStorageConf('storage.conf', one, { store: '/two', mountProgram: undefined })), '');
});

test('taken out: no store that the user has named, before or since', () => {
  const theirs = `[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["/a", "${STORE}"]\n`;
  assert.equal(remove(theirs), theirs);
  assert.equal(remove(add(theirs)), theirs);
  const stores = (text: string): string => `[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ${text}\n`;
  const ours = `"${STORE}", # cfsctl setup podman`;
  assert.equal(remove(stores(`["/a", ${ours}\n"/since"]`)), stores('["/a","/since"]'));
  assert.equal(remove(stores(`[\n  "/a",\n  ${ours}\n  "/since"\n]`)), stores('[\n  "/a",\n  "/since"\n]'));
});

test('a line of ours where the user has named others since: ours is taken out by its name, and the line is theirs', () => {
  const since = add('').replace(`["${STORE}"]`, `["${STORE}", "/since"]`);
  assert.equal(remove(since), '[storage.options]\nadditionalimagestores = ["/since"]\n');
  assert.equal(remove(remove(since)), remove(since));
  assert.equal(remove(since, '/another'), `[storage.options]\nadditionalimagestores = ["${STORE}", "/since"]\n`);
});

test('a line of ours that the user has broken into several is taken out whole', () => {
  assert.equal(remove(add('').replace(`["${STORE}"]`, `[\n  "${STORE}",\n]`)), '');
});

test('the words of the mark in a text of the user stay', () => {
  const text = '[x]\ny = """\nz # cfsctl setup podman\n"""\n';
  assert.equal(remove(text), text);
});

test('a file without an end of line gets one', () => {
  assert.equal(remove(add('[storage]\ndriver = "overlay"')), '[storage]\ndriver = "overlay"\n');
});

test('cfs-overlay beside options of the user, and taken out; a mount_program of the user stays', () => {
  const text = '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nmountopt = "nodev"\n';
  assert.match(add(text, withProgram), /\[storage\.options\.overlay\]\nmount_program = .*\nmountopt/);
  assert.equal(remove(add(text, withProgram)), text);
  const theirs = '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nmount_program = "/usr/bin/fuse-overlayfs"\n';
  assert.equal(remove(add(theirs)), theirs);
});

test('what the user has changed since stays', () => {
  const later = add('').replace('driver = "overlay" # cfsctl setup podman', 'driver = "overlay" # mine now\nrunroot = "/run/x"');
  assert.equal(remove(later), '[storage]\ndriver = "overlay" # mine now\nrunroot = "/run/x"\n');
});

const refused: readonly [text: string, says: RegExp, hint: RegExp][] = [
  ['[storage', /storage\.conf:1: not valid TOML/, /mend the line/],
  ['\uFEFF[storage]\n', /begins with a byte order mark/, /podman 4\.3 does not read/],
  ['a = 1\na = 2\n', /not valid TOML/, /mend/],
  ['[storage]\ndriver = "vfs"\n', /another storage driver/, /podman system reset/],
  ['[storage]\ndriver = ""\n', /an empty storage driver/, /take the line out/],
  ['[storage]\ndriver = 1\n', /another storage driver/, /reset/],
  ['[storage]\noptions = { size = "" }\n', /cannot be edited here/, /additionalimagestores/],
  ['storage = { driver = "overlay" }\n', /cannot be edited here/, /yourself/],
  ['storage = 3\n', /cannot be edited here/, /yourself/],
  ['[[storage]]\ndriver = "overlay"\n', /cannot be edited here/, /yourself/],
  ['[storage.options]\nadditionalimagestores = "/a"\n', /cannot be edited here/, /yourself/],
];
for (const [text, says, hint] of refused) {
  test(`refused: ${JSON.stringify(text)}`, () => {
    assert.throws(
      () => add(text),
      (error) => error instanceof RequestError && says.test(error.message) && hint.test(error.hint ?? ''),
    );
  });
}

test('another mount_program is not replaced', () => {
  for (const table of ['storage.options.overlay', 'storage.options'])
    assert.throws(() => add(`[${table}]\nmount_program = "/usr/bin/other"\n`, withProgram), /has a mount_program already/);
});

test('whatever the text is: refused, or a file that podman can read, which is as before when it is taken out', () => {
  const piece = fc.constantFrom(
    '[storage]',
    '[storage.options]',
    '[storage.options.overlay]',
    'driver = "overlay"',
    '# x',
    '',
    'size = ""',
    'additionalimagestores = [',
    '"/a"',
    '"/b",',
    ']',
    ' "/c", # c',
    'additionalimagestores = ["/a", "/b"]',
    'options = {}',
    '[other]',
    `"${STORE}"`,
    'mount_program = "/x"',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), fc.boolean(), (pieces, program) => {
      const text = pieces.map((line) => `${line}\n`).join('');
      let added: string;
      try {
        added = add(text, program ? withProgram : wish);
      } catch (error) {
        assert.ok(error instanceof RequestError, String(error));
        return;
      }
      read(added);
      assert.equal(remove(added), text);
      assert.equal(remove(text), text);
    }),
    { numRuns: 3000 },
  );
});

test('diffs are those of diff -u', () => {
  const before = Array.from({ length: 20 }, (_, i) => `line ${i}`).join('\n');
  const after = before.replace('line 3\n', '').replace('line 15', 'line 15\nnew');
  assert.equal(
    formatDiff('f', `${before}\n`, `${after}\n`),
    `--- f
+++ f
@@ -1,7 +1,6 @@
 line 0
 line 1
 line 2
-line 3
 line 4
 line 5
 line 6
@@ -14,6 +13,7 @@
 line 13
 line 14
 line 15
+new
 line 16
 line 17
 line 18
`,
  );
  assert.equal(formatDiff('f', undefined, 'x\n'), '--- /dev/null\n+++ f\n@@ -0,0 +1,1 @@\n+x\n');
  assert.equal(formatDiff('f', 'x\n', undefined), '--- f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-x\n');
  assert.equal(formatDiff('f', 'x\n', 'x\n'), '');
});
