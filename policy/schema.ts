import * as z from 'zod';
import { DESCRIPTIONS } from './descriptions.js';
import { hasUnprintable } from './problem.js';

const MAX_NAME = 128;
const MAX_PATH = 4095; // linux/limits.h PATH_MAX, less the NUL
const MAX_MOUNTS = 1_000_000;
const MAX_PER_MINUTE = 10_000;
const MAX_SIZE = 2 ** 44; // of an EROFS image, with blocks of 4096 bytes
const MAX_ID = 4294967294; // (uid_t) -1 means "no id"

/** "KEY is missing; write EXAMPLE" or "KEY is not WHAT; write EXAMPLE". */
function expected(key: string, what: string, example: string): { error: (issue: { readonly input?: unknown }) => string } {
  return {
    error: ({ input }) =>
      input === undefined ? `${key} is missing; write ${example}` : `${key} is not ${what}; write ${example}`,
  };
}

/** Text that may go into logs and messages as it is. */
function plainText(key: string, example: string, max: number): z.ZodString {
  return z
    .string(expected(key, 'a text', example))
    .min(1, { error: `${key} is empty; write ${example}`, abort: true })
    .max(max, { error: `${key} is longer than ${max} characters; shorten it`, abort: true })
    .refine((text) => !hasUnprintable(text), {
      error: `${key} contains control or invisible characters; take them out`,
      abort: true,
    })
    .refine((text) => text === text.trim(), { error: `${key} starts or ends with white space; take it out` });
}

function flag(key: string) {
  return z.boolean(expected(key, 'true or false', `${key} = true`)).optional();
}

/** A key that can only be switched on: false would say the same as its absence, and look like more. */
function mark(key: string) {
  return z.literal(true, expected(key, 'true', `${key} = true, or leave it out`)).optional();
}

/** What a rule says of images that hold a kind of thing. */
function condition(key: string) {
  return z.enum(['allow', 'deny'], expected(key, '"allow" or "deny"', `${key} = "deny"`)).optional();
}

function wholeNumber(key: string, example: number, max: number) {
  const range = { error: `${key} is out of range; write 1 to ${max}` };
  return z
    .int(expected(key, 'a whole number', `${key} = ${example}`))
    .min(1, range)
    .max(max, range);
}

/** Texts of some form, at least one. */
function texts(key: string, what: string, example: string, element: z.ZodType<string>) {
  return z
    .array(element, expected(key, `a list of ${what}`, `${key} = ${example}`))
    .min(1, { error: `${key} is empty; write ${key} = ${example}, or take the key out` })
    .optional();
}

function time(key: string) {
  return z.string(expected(key, 'a date', `${key} = 2027-01-31T12:00:00Z`)).optional();
}

/** User or group: a name is looked up later, a number is taken as the host id. */
function principals(key: string, example: string) {
  const outOfRange = { error: describeId(key) };
  const id = z.int(outOfRange).min(0, outOfRange).max(MAX_ID, outOfRange);
  const element = z.union([plainText(key, example, MAX_NAME), id], {
    error: ({ input }) => describePrincipal(key, example, input),
  });
  return z
    .array(element, expected(key, 'a list', `${key} = ${example}`))
    .min(1, {
      error: `${key} is an empty list; name somebody, or leave ${key} out (with neither users nor groups a rule is for everyone)`,
    })
    .optional();
}

function describePrincipal(key: string, example: string, input: unknown): string {
  if (typeof input === 'number') return describeId(key);
  if (typeof input !== 'string') return `${key} holds something that is neither a name nor an id; write ${key} = ${example}`;
  return `a name in ${key} is empty, longer than ${MAX_NAME} characters or has white space or control characters; write it as id(1) prints it`;
}

function describeId(key: string): string {
  return `an id in ${key} is out of range; ids go from 0 to ${MAX_ID}`;
}

const limits = z.strictObject(
  {
    'mounts-per-user': wholeNumber('mounts-per-user', 256, MAX_MOUNTS).optional().describe(DESCRIPTIONS['mounts-per-user']),
    'mounts-per-minute': wholeNumber('mounts-per-minute', 60, MAX_PER_MINUTE)
      .optional()
      .describe(DESCRIPTIONS['mounts-per-minute']),
    'mounts-total': wholeNumber('mounts-total', 4096, MAX_MOUNTS).optional().describe(DESCRIPTIONS['mounts-total']),
  },
  { error: 'limits is not a table; write [limits] on a line of its own' },
);

const absolutePath = plainText('path', 'path = "/var/lib/cfsmountd/repo"', MAX_PATH)
  .refine((path) => path.startsWith('/'), { error: 'path is not absolute; start it with a slash', abort: true })
  .refine((path) => path.slice(1).split('/').every(isPlainComponent), {
    error: 'path has an empty, "." or ".." part or a slash at its end; write it without',
  });

const repository = z.strictObject(
  {
    path: absolutePath.describe(DESCRIPTIONS.path),
    objects: z
      .enum(['verity', 'trusted'], expected('objects', '"verity" or "trusted"', 'objects = "verity"'))
      .describe(DESCRIPTIONS.objects),
  },
  { error: 'repository is not a table; write [[repository]] on a line of its own' },
);

function isPlainComponent(part: string): boolean {
  return part !== '' && part !== '.' && part !== '..';
}

const NAME_OF_LIST = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,120}\.list$/;
const FINGERPRINT = /^[0-9a-f]{64}$/;
const ACTION = /^[a-z0-9][a-z0-9.-]{0,254}$/;
const BAD_SIZE = { error: 'max-size is neither a number of bytes nor a size; write max-size = "64 MiB"' };
const SIZE = /^[1-9][0-9]{0,8} (KiB|MiB|GiB)$/;

const rule = z.strictObject(
  {
    name: plainText('name', 'name = "team images"', MAX_NAME).describe(DESCRIPTIONS.name),
    digests: z
      .array(
        z.string({ error: 'digests holds something that is not a text; write digests = ["sha256:…"]' }),
        expected('digests', 'a list', 'digests = ["sha256:…"]'),
      )
      .min(1, { error: 'digests is empty, so the rule allows nothing; list a digest or take the rule out' })
      .optional()
      .describe(DESCRIPTIONS.digests),
    users: principals('users', '["root", 1000]').describe(DESCRIPTIONS.users),
    groups: principals('groups', '["podman", 1000]').describe(DESCRIPTIONS.groups),
    deny: mark('deny').describe(DESCRIPTIONS.deny),
    'digest-file': z
      .string(expected('digest-file', 'a text', 'digest-file = "team.list"'))
      .regex(NAME_OF_LIST, {
        error: 'digest-file is not the name of a file NAME.list beside the policy files; write digest-file = "team.list"',
      })
      .optional()
      .describe(DESCRIPTIONS['digest-file']),
    repository: plainText('repository', 'repository = "/var/lib/cfsmountd/repo"', MAX_PATH)
      .optional()
      .describe(DESCRIPTIONS.repository),
    names: texts('names', 'patterns', '["team/*"]', plainText('names', '["team/*"]', MAX_PATH)).describe(DESCRIPTIONS.names),
    signature: mark('signature').describe(DESCRIPTIONS.signature),
    signers: texts(
      'signers',
      'fingerprints',
      '["<sha256 of the certificate>"]',
      z.string().regex(FINGERPRINT, {
        error: 'signers holds something that is not a SHA-256 fingerprint; write its 64 lower-case hex digits without colons',
      }),
    ).describe(DESCRIPTIONS.signers),
    polkit: z
      .string(expected('polkit', 'a text', 'polkit = "org.composefs.mount1.mount-image"'))
      .regex(ACTION, { error: 'polkit is not the id of an action; write polkit = "org.composefs.mount1.mount-image"' })
      .optional()
      .describe(DESCRIPTIONS.polkit),
    'not-before': time('not-before').describe(DESCRIPTIONS['not-before']),
    'not-after': time('not-after').describe(DESCRIPTIONS['not-after']),
    nosuid: flag('nosuid').describe(DESCRIPTIONS.nosuid),
    noexec: flag('noexec').describe(DESCRIPTIONS.noexec),
    devices: condition('devices').describe(DESCRIPTIONS.devices),
    setuid: condition('setuid').describe(DESCRIPTIONS.setuid),
    fcaps: condition('fcaps').describe(DESCRIPTIONS.fcaps),
    canonical: condition('canonical').describe(DESCRIPTIONS.canonical),
    'max-entries': wholeNumber('max-entries', 100_000, MAX_ID).optional().describe(DESCRIPTIONS['max-entries']),
    'max-size': z
      .union([wholeNumber('max-size', 67_108_864, MAX_SIZE), z.string().regex(SIZE, BAD_SIZE)], BAD_SIZE)
      .optional()
      .describe(DESCRIPTIONS['max-size']),
  },
  { error: 'rule is not a table; write [[rule]] on a line of its own' },
);

/** One policy file. Every message says what is wrong; how to mend it. */
export const policyFile = z.strictObject({
  limits: limits.optional().describe(DESCRIPTIONS.limits),
  repository: z
    .array(repository, { error: 'repository is not a list of tables; write [[repository]] with two brackets' })
    .default([])
    .describe(DESCRIPTIONS.repositories),
  rule: z
    .array(rule, { error: 'rule is not a list of tables; write [[rule]] with two brackets' })
    .default([])
    .describe(DESCRIPTIONS.rules),
});

export type PolicyFile = z.infer<typeof policyFile>;
export type RuleEntry = PolicyFile['rule'][number];

/** The keys that may stand in the table at this path. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  const [table] = path;
  if (table === 'limits') return Object.keys(limits.shape);
  if (table === 'repository') return Object.keys(repository.shape);
  if (table === 'rule') return Object.keys(rule.shape);
  return Object.keys(policyFile.shape);
}
