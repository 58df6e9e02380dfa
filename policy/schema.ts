import * as z from 'zod';
import { hasUnprintable } from './problem.js';

const MAX_NAME = 128;
const MAX_PATH = 4095; // linux/limits.h PATH_MAX, less the NUL
const MAX_MOUNTS = 1_000_000;
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

function flag(key: string): z.ZodDefault<z.ZodBoolean> {
  return z.boolean(expected(key, 'true or false', `${key} = true`)).default(false);
}

/** What a rule says of images that hold a kind of thing. */
function condition(key: string, unsaid: 'allow' | 'deny') {
  return z.enum(['allow', 'deny'], expected(key, '"allow" or "deny"', `${key} = "deny"`)).default(unsaid);
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
    'mounts-per-user': z
      .int(expected('mounts-per-user', 'a whole number', 'mounts-per-user = 256'))
      .min(1, { error: `mounts-per-user is out of range; write 1 to ${MAX_MOUNTS}` })
      .max(MAX_MOUNTS, { error: `mounts-per-user is out of range; write 1 to ${MAX_MOUNTS}` })
      .optional(),
  },
  { error: 'limits is not a table; write [limits] on a line of its own' },
);

const repository = z.strictObject(
  {
    path: plainText('path', 'path = "/var/lib/cfsmountd/repo"', MAX_PATH)
      .refine((path) => path.startsWith('/'), { error: 'path is not absolute; start it with a slash', abort: true })
      .refine((path) => path.slice(1).split('/').every(isPlainComponent), {
        error: 'path has an empty, "." or ".." part or a slash at its end; write it without',
      }),
    objects: z.enum(['verity', 'trusted'], expected('objects', '"verity" or "trusted"', 'objects = "verity"')),
  },
  { error: 'repository is not a table; write [[repository]] on a line of its own' },
);

function isPlainComponent(part: string): boolean {
  return part !== '' && part !== '.' && part !== '..';
}

const rule = z.strictObject(
  {
    name: plainText('name', 'name = "team images"', MAX_NAME),
    digests: z
      .array(
        z.string({ error: 'digests holds something that is not a text; write digests = ["sha256:…"]' }),
        expected('digests', 'a list', 'digests = ["sha256:…"]'),
      )
      .min(1, { error: 'digests is empty, so the rule allows nothing; list a digest or take the rule out' }),
    users: principals('users', '["root", 1000]'),
    groups: principals('groups', '["podman", 1000]'),
    nosuid: flag('nosuid'),
    noexec: flag('noexec'),
    // A mount never opens a device, whatever is said here: an image that holds one was made by mistake, or for an attack.
    devices: condition('devices', 'deny'),
    setuid: condition('setuid', 'allow'),
    fcaps: condition('fcaps', 'allow'),
    canonical: condition('canonical', 'allow'),
  },
  { error: 'rule is not a table; write [[rule]] on a line of its own' },
);

/** One policy file. Every message says what is wrong; how to mend it. */
export const policyFile = z.strictObject({
  limits: limits.optional(),
  repository: z
    .array(repository, { error: 'repository is not a list of tables; write [[repository]] with two brackets' })
    .default([]),
  rule: z.array(rule, { error: 'rule is not a list of tables; write [[rule]] with two brackets' }).default([]),
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
