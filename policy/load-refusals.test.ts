import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Names } from './load-rule.js';
import { loadPolicy } from './load.js';
import { PolicyError } from './problem.js';

const HEX = 'ab'.repeat(32);
const D = `sha256:${HEX}`;
const IDS: Readonly<Record<string, number>> = { root: 0, alice: 1000, podman: 60 };
const names: Names = {
  uidOf: (name) => (Object.hasOwn(IDS, name) ? IDS[name] : undefined),
  gidOf: (name) => (name === 'podman' ? 60 : undefined),
};

function load(...texts: string[]): ReturnType<typeof loadPolicy> {
  return loadPolicy(
    texts.map((text, index) => ({ path: `${index + 1}.toml`, text })),
    names,
  );
}

const RULE = `[[rule]]\nname = "x"\n`;
const GOOD = `${RULE}digests = ["${D}"]\n`;
const REPOSITORY = (path: string): string => `[[repository]]\npath = "${path}"\nobjects = "verity"\n`;

const broken: readonly (readonly [what: string, text: string, start: string, ...parts: string[]])[] = [
  ['half-written: ends in a string', `${GOOD}[[rule]]\nname = "tea`, '1.toml:5:', 'not valid TOML'],
  ['half-written: ends in an array', `${RULE}digests = [\n  "${D}",`, '1.toml:4:', 'not valid TOML'],
  ['half-written: ends after an equals sign', '[limits]\nmounts-per-user =', '1.toml:2:', 'not valid TOML'],
  ['half-written: ends in a table header', '[limits]\n[[ru', '1.toml:2:', 'not valid TOML'],
  ['the same key twice', `${GOOD}name = "y"\n`, '1.toml:4:', 'not valid TOML', 'multiple times'],
  ['the same table twice', '[limits]\n\n[limits]\n', '1.toml:3:', 'not valid TOML'],
  ['byte-order mark', `\ufeff${GOOD}`, '1.toml:1:', 'byte-order mark', 'UTF-8'],
  ['NUL byte', `${GOOD}# \0\n`, '1.toml:4:', 'NUL byte'],
  ['raw control character in a string', `[[rule]]\nname = "a\u0007b"\n`, '1.toml:2:', 'not valid TOML'],
  ['larger than 1 MiB', `# ${'x'.repeat(2 ** 20)}`, '1.toml:1:', 'larger than 1 MiB'],
  ['nested too deeply', `a = ${'['.repeat(30)}${']'.repeat(30)}`, '1.toml:1:', 'nested too deeply'],
  ['dotted too deeply', `a.b.c.d.e.f.g = 1`, '1.toml:1:', 'nested too deeply'],
  ['unknown table', '\n[limit]\nx = 1', '1.toml:2:', 'unknown key "limit"', 'did you mean "limits"?'],
  ['unknown plural of rule', `[[rules]]\nname = "x"`, '1.toml:1:', 'unknown key "rules"', 'did you mean "rule"?'],
  ['unknown key with underscore', '[limits]\nmounts_per_user = 5', '1.toml:2:', 'did you mean "mounts-per-user"?'],
  ['unknown key in a rule', `${GOOD}user = ["root"]`, '1.toml:4:', 'unknown key "user"', 'did you mean "users"?'],
  [
    'unknown key like nothing known',
    `${GOOD}colour = "red"`,
    '1.toml:4:',
    'unknown key "colour"',
    'known here are name, digests, users',
  ],
  ['unknown key in a repository', `${REPOSITORY('/a')}object = "verity"`, '1.toml:4:', 'did you mean "objects"?'],
  ['a key that every object has', `${GOOD}constructor = 1`, '1.toml:4:', 'unknown key "constructor"'],
  ['__proto__ as key', `${GOOD}__proto__ = 1`, '1.toml:4:', 'unknown key "__proto__"'],
  ['__proto__ as table', `${GOOD}[__proto__]\nx = 1`, '1.toml:4:', 'unknown key "__proto__"'],
  ['a newline in a key', `${GOOD}"a\\nb" = 1`, '1.toml:4:', 'unknown key "a\\nb"'],
  ['an escape in a key', `${GOOD}"\\u009b31m" = 1`, '1.toml:4:', 'unknown key "\\u009b31m"'],
  ['[rule] with one bracket', `[rule]\nname = "x"`, '1.toml:1:', 'two brackets'],
  ['[repository] with one bracket', `[repository]\npath = "/x"`, '1.toml:1:', 'two brackets'],
  ['[[limits]] with two brackets', `[[limits]]\nmounts-per-user = 1`, '1.toml:1:', 'limits is not a table'],
  ['limits as number', `limits = 5`, '1.toml:1:', 'limits is not a table'],
  ['rule as text', `rule = ["x"]`, '1.toml:1:', 'rule is not a table'],
  ['mounts-per-user 0', '[limits]\nmounts-per-user = 0', '1.toml:2:', 'write 1 to 1000000'],
  ['mounts-per-user 1000001', '[limits]\nmounts-per-user = 1000001', '1.toml:2:', 'write 1 to 1000000'],
  ['mounts-per-user -1', '[limits]\nmounts-per-user = -1', '1.toml:2:', 'write 1 to 1000000'],
  ['mounts-per-user 2^64', '[limits]\nmounts-per-user = 18446744073709551616', '1.toml:2:', 'mounts-per-user'],
  ['mounts-per-user as float', '[limits]\nmounts-per-user = 1e3', '1.toml:2:', '"mounts-per-user" is a float', 'whole number'],
  ['mounts-per-user as text', '[limits]\nmounts-per-user = "5"', '1.toml:2:', 'not a whole number', 'mounts-per-user = 256'],
  ['mounts-per-user as date', '[limits]\nmounts-per-user = 2020-01-01', '1.toml:2:', 'is a local-date'],
  ['rule without a name', `\n[[rule]]\ndigests = ["${D}"]`, '1.toml:2:', 'name is missing', 'write name ='],
  ['rule with an empty name', `[[rule]]\nname = ""\ndigests = ["${D}"]`, '1.toml:2:', 'name is empty'],
  ['rule with a number for a name', `[[rule]]\nname = 7\ndigests = ["${D}"]`, '1.toml:2:', 'name is not a text'],
  ['rule name with a newline', `[[rule]]\nname = "a\\nb"\ndigests = ["${D}"]`, '1.toml:2:', 'control or invisible characters'],
  [
    'rule name with a right-to-left override',
    `[[rule]]\nname = "a\\u202eb"\ndigests = ["${D}"]`,
    '1.toml:2:',
    'control or invisible characters',
  ],
  ['rule name with white space at its end', `[[rule]]\nname = "a "\ndigests = ["${D}"]`, '1.toml:2:', 'white space'],
  ['rule name of 129 characters', `[[rule]]\nname = "${'n'.repeat(129)}"\ndigests = ["${D}"]`, '1.toml:2:', 'longer than 128'],
  ['rule without digests', `\n\n${RULE}`, '1.toml:3:', 'digests is missing'],
  ['rule with an empty list of digests', `${RULE}digests = []`, '1.toml:3:', 'digests is empty'],
  ['digests as text', `${RULE}digests = "${D}"`, '1.toml:3:', 'digests is not a list'],
  ['a number among the digests', `${RULE}digests = [\n1]`, '1.toml:4:', 'not a text'],
  ['empty digest', `${RULE}digests = ["${D}",\n  ""]`, '1.toml:4:', 'rule "x"', 'empty'],
  ['digest without algorithm', `${RULE}digests = ["${HEX}"]`, '1.toml:3:', 'rule "x"', 'sha256: or sha512:'],
  ['sha1 digest', `${RULE}digests = ["sha1:${HEX.slice(0, 40)}"]`, '1.toml:3:', 'rule "x"', '"sha1"'],
  ['md5 digest', `${RULE}digests = ["md5:${HEX.slice(0, 32)}"]`, '1.toml:3:', 'rule "x"', '"md5"'],
  ['upper-case digest', `${RULE}digests = ["sha256:${HEX.toUpperCase()}"]`, '1.toml:3:', 'rule "x"', 'lower case'],
  ['short digest', `${RULE}digests = ["sha256:${HEX.slice(2)}"]`, '1.toml:3:', 'rule "x"', '64 hex digits, not 62'],
  ['digest with a newline', `${RULE}digests = ["${D}\\n"]`, '1.toml:3:', 'rule "x"', 'newline'],
  ['unknown user', `${GOOD}users = [\n"alice",\n"bob"]`, '1.toml:6:', 'rule "x"', 'no user "bob"', 'create the user'],
  ['unknown user that is a key of every object', `${GOOD}users = ["constructor"]`, '1.toml:4:', 'no user "constructor"'],
  ['unknown group', `${GOOD}groups = ["alice"]`, '1.toml:4:', 'rule "x"', 'no group "alice"'],
  ['id in quotes', `${GOOD}users = ["1000"]`, '1.toml:4:', 'without quotes'],
  ['empty list of users', `${GOOD}users = []`, '1.toml:4:', 'users is an empty list'],
  ['empty list of groups', `${GOOD}groups = []`, '1.toml:4:', 'groups is an empty list'],
  ['users as text', `${GOOD}users = "root"`, '1.toml:4:', 'users is not a list'],
  ['empty user name', `${GOOD}users = [""]`, '1.toml:4:', 'a name in users is empty'],
  ['user name with a newline', `${GOOD}users = ["ro\\not"]`, '1.toml:4:', 'control characters'],
  ['user name of 129 characters', `${GOOD}users = ["${'u'.repeat(129)}"]`, '1.toml:4:', 'longer than 128'],
  ['list among the users', `${GOOD}users = [["root"]]`, '1.toml:4:', 'neither a name nor an id'],
  ['uid -1', `${GOOD}users = [-1]`, '1.toml:4:', 'out of range'],
  ['uid 4294967295', `${GOOD}users = [0,\n4294967295]`, '1.toml:5:', 'ids go from 0 to 4294967294'],
  ['gid 2^53', `${GOOD}groups = [9007199254740993]`, '1.toml:4:', 'out of range'],
  ['nosuid as number', `${GOOD}nosuid = 1`, '1.toml:4:', 'nosuid is not true or false'],
  ['noexec as text', `${GOOD}noexec = "true"`, '1.toml:4:', 'noexec is not true or false'],
  ['devices as a boolean', `${GOOD}devices = false`, '1.toml:4:', 'devices is not "allow" or "deny"', 'devices = "deny"'],
  ['devices as another word', `${GOOD}devices = "refuse"`, '1.toml:4:', 'devices is not "allow" or "deny"'],
  ['devices with capitals', `${GOOD}devices = "Deny"`, '1.toml:4:', 'devices is not'],
  ['setuid as an empty text', `${GOOD}setuid = ""`, '1.toml:4:', 'setuid is not', 'setuid = "deny"'],
  ['fcaps as a list', `${GOOD}fcaps = ["deny"]`, '1.toml:4:', 'fcaps is not'],
  ['canonical as a number', `${GOOD}\ncanonical = 1`, '1.toml:5:', 'canonical is not'],
  ['a condition in the plural', `${GOOD}device = "deny"`, '1.toml:4:', 'did you mean "devices"?'],
  ['a condition in the limits', '[limits]\ndevices = "deny"', '1.toml:2:', 'unknown key "devices"'],
  ['repository without path', '[[repository]]\nobjects = "verity"', '1.toml:1:', 'path is missing'],
  ['repository without objects', '[[repository]]\npath = "/x"', '1.toml:1:', 'objects is missing', 'objects = "verity"'],
  [
    'repository with unknown objects',
    '[[repository]]\npath = "/x"\nobjects = "Verity"',
    '1.toml:3:',
    'not "verity" or "trusted"',
  ],
  ['repository path relative', REPOSITORY('var/x'), '1.toml:2:', 'not absolute'],
  ['repository path empty', REPOSITORY(''), '1.toml:2:', 'path is empty'],
  ['repository path with ..', REPOSITORY('/var/../etc'), '1.toml:2:', '".."'],
  ['repository path ends in ..', REPOSITORY('/var/..'), '1.toml:2:', '".."'],
  ['repository path with .', REPOSITORY('/var/./x'), '1.toml:2:', '"."'],
  ['repository path with //', REPOSITORY('/var//x'), '1.toml:2:', 'empty'],
  ['repository path with a slash at its end', REPOSITORY('/var/x/'), '1.toml:2:', 'slash at its end'],
  ['repository path /', REPOSITORY('/'), '1.toml:2:', 'slash at its end'],
  ['repository path with an escape', REPOSITORY('/var/\\u001b'), '1.toml:2:', 'control'],
  ['repository path with NUL', REPOSITORY('/var/\\u0000'), '1.toml:2:', 'control'],
  ['repository path of 4096 characters', REPOSITORY(`/${'x'.repeat(4095)}`), '1.toml:2:', 'longer than 4095'],
  ['the same repository twice', `${REPOSITORY('/a')}${REPOSITORY('/a')}`, '1.toml:4:', 'repository "/a"', 'already at 1.toml:1'],
  ['two rules of one name', `${GOOD}\n${GOOD}`, '1.toml:5:', 'rule "x"', 'already at 1.toml:1', 'rename'],
];

function problemsOf(...texts: string[]): PolicyError {
  try {
    load(...texts);
  } catch (error) {
    if (error instanceof PolicyError) return error;
    throw error;
  }
  return assert.fail('the policy was taken');
}

for (const [what, text, start, ...parts] of broken) {
  test(`policy refused: ${what}`, () => {
    const { message, problems } = problemsOf(text);
    const line = message.split('\n').find((one) => one.startsWith(start) && parts.every((part) => one.includes(part)));
    assert.ok(line !== undefined, message);
    assert.equal(message.split('\n').length, problems.length, 'one line for each problem');
    assert.match(line, /^[^\p{C}]+$/u);
    assert.match(line, /[;?]/, 'says how to mend it');
  });
}
