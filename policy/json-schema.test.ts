// The schema against the reader of policy files: what it refuses is refused there, and what is taken there it takes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getStaticTOMLValue, parseTOML } from 'toml-eslint-parser';
import { policyJsonSchema } from './json-schema.js';
import { loadPolicy } from './load.js';
import { PolicyError } from './problem.js';
import { knownKeys } from './schema.js';

interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: unknown[];
  readonly anyOf?: Schema[];
  readonly properties?: Record<string, Schema>;
  readonly required?: string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly description?: string;
}
const KNOWN = [
  'title',
  '$schema',
  'type',
  'const',
  'enum',
  'anyOf',
  'properties',
  'required',
  'additionalProperties',
  'items',
  'minItems',
];
const ALSO = [
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'minLength',
  'maxLength',
  'pattern',
  'description',
  'default',
  'examples',
];

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  array: Array.isArray,
  string: (value) => typeof value === 'string' || value instanceof Date, // an editor has TOML's dates as text
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
};

/** The part of JSON Schema that this schema uses; with any other keyword it throws. */
function isValid(schema: Schema, value: unknown): boolean {
  for (const key of Object.keys(schema)) assert.ok([...KNOWN, ...ALSO].includes(key), key);
  if (schema.anyOf) return schema.anyOf.some((one) => isValid(one, value));
  if (schema.type !== undefined && !TYPES[schema.type]!(value)) return false;
  if ('const' in schema && value !== schema.const) return false;
  if (schema.enum && !schema.enum.includes(value)) return false;
  if (typeof value === 'number') return value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity);
  if (typeof value === 'string') return isValidText(schema, value);
  if (Array.isArray(value))
    return value.length >= (schema.minItems ?? 0) && value.every((one) => isValid(schema.items ?? {}, one));
  if (typeof value !== 'object' || value === null || value instanceof Date) return true;
  const { properties = {}, required = [], additionalProperties } = schema;
  if (!required.every((key) => key in value)) return false;
  return Object.entries(value).every(([key, one]) =>
    Object.hasOwn(properties, key) ? isValid(properties[key]!, one) : additionalProperties !== false,
  );
}

function isValidText({ minLength = 0, maxLength = Infinity, pattern }: Schema, text: string): boolean {
  return text.length >= minLength && text.length <= maxLength && (pattern === undefined || new RegExp(pattern).test(text));
}

const schema = policyJsonSchema() as Schema;
const D = `sha256:${'ab'.repeat(32)}`;
const GOOD = `[[rule]]\nname = "x"\ndigests = ["${D}"]\n`;
const REPOSITORY = '[[repository]]\npath = "/srv"\nobjects = "trusted"\n';

const taken = [
  '',
  '[limits]\nmounts-per-user = 1\nmounts-per-minute = 2\nmounts-total = 3\n',
  `${GOOD}users = ["root", 1000]\ngroups = ["root"]\nnot-before = 2026-01-01\nnot-after = 2027-01-01T00:00:00Z\nnosuid = true\nnoexec = false\n`,
  `${GOOD}devices = "allow"\nsetuid = "deny"\nfcaps = "deny"\ncanonical = "deny"\nmax-entries = 5\nmax-size = "5 MiB"\n`,
  `${GOOD}max-size = 5\nnot-after = "2027-01-01T00:00:00Z"\n`,
  `${REPOSITORY}[[rule]]\nname = "x"\nrepository = "/srv"\nnames = ["a/*"]\n`,
  '[[rule]]\nname = "x"\ndeny = true\n',
];
const refused = [
  'limit = 1',
  '[limits]\nmounts-per-user = 0',
  '[limits]\nmounts-per-user = "1"',
  '[[repository]]\npath = "/srv"\n',
  '[[repository]]\npath = "/srv"\nobjects = "none"\n',
  `${GOOD}user = ["root"]\n`,
  `${GOOD}users = []\n`,
  `${GOOD}users = [-1]\n`,
  `${GOOD}users = [1.5]\n`,
  `${GOOD}nosuid = "true"\n`,
  `${GOOD}setuid = "maybe"\n`,
  `${GOOD}deny = false\n`,
  `${GOOD}max-size = "5 MB"\n`,
  `${GOOD}max-entries = 0\n`,
  `${GOOD}polkit = "Not An Action"\n`,
  `${GOOD}signers = ["short"]\n`,
  '[[rule]]\ndigests = []\nname = "x"\n',
  `[[rule]]\ndigests = ["${D}"]\n`,
  '[[rule]]\nname = "x"\ndigest-file = "../x.list"\n',
];
const load = (text: string) => loadPolicy([{ path: 'p.toml', text }], { uidOf: () => 0, gidOf: () => 0 });
const looksValid = (text: string): boolean => isValid(schema, getStaticTOMLValue(parseTOML(text)));

for (const text of taken) {
  test(`the schema takes what is taken: ${text.slice(-40).trim()}`, () => {
    load(text);
    assert.equal(looksValid(text), true);
  });
}
for (const text of refused) {
  test(`the schema refuses what is refused: ${text.slice(-40).trim()}`, () => {
    assert.throws(() => load(text), PolicyError);
    assert.equal(looksValid(text), false);
  });
}

test('the schema has every key, says what it is for, and knows no other', () => {
  const tables: [string[], Schema][] = [
    [[], schema],
    [['limits'], schema.properties!['limits']!],
    [['repository'], schema.properties!['repository']!.items!],
    [['rule'], schema.properties!['rule']!.items!],
  ];
  for (const [path, table] of tables) {
    assert.deepEqual(Object.keys(table.properties!), knownKeys(path));
    assert.equal(table.additionalProperties, false);
    for (const [key, { description }] of Object.entries(table.properties!)) assert.ok(description, key);
  }
});
