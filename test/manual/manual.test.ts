// The manual pages list what the code has, all of it and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Command } from 'commander';

import { buildProgram } from '../../client/program.js';
import { parseVerityDigest } from '../../core/image/digest.js';
import { MOUNT_INTERFACE, type Argument } from '../../core/wire/contract.js';
import { ERROR_CODES } from '../../core/wire/errors.js';
import { parseCheckImage } from '../../core/wire/requests.js';
import {
  encodeCheckReport,
  encodeImageEntry,
  encodeMountEntry,
  encodeMountResult,
  encodePolicySummary,
} from '../../core/wire/results.js';
import { type Dict, variant } from '../../core/wire/variants.js';
import { CONFIG_KEYS, createProgram } from '../../daemon/config.js';
import { knownKeys } from '../../policy/schema.js';
import * as manual from './page.js';

function assertSame(listed: readonly string[], actual: readonly string[]): void {
  assert.deepEqual([...listed].sort(), [...actual].sort());
}

/** `--name argument` of each option. */
function flagsOf({ options }: Command): string[] {
  return options.map(({ long, flags }) => [long!, ...(/<(.+)>/.exec(flags)?.slice(1) ?? [])].join(' '));
}

const cfsctl = buildProgram();
/** With the commands inside commands, by all their words. */
const commands = cfsctl.commands.flatMap((command) =>
  command.commands.length === 0
    ? [{ name: command.name(), command }]
    : command.commands.map((inner) => ({ name: `${command.name()} ${inner.name()}`, command: inner })),
);
const cfsctlPage = manual.readPage('cfsctl.1');

test('cfsctl(1): commands', () => {
  assertSame(
    manual.subsectionsOf(cfsctlPage, 'COMMANDS'),
    commands.map(({ name }) => name),
  );
});

test('cfsctl(1): options for all commands', () => {
  assertSame(manual.listedFlags(manual.linesOf(cfsctlPage, 'OPTIONS')), [...flagsOf(cfsctl), '--help']);
  assertSame([...manual.optionalFlags(manual.linesOf(cfsctlPage, 'SYNOPSIS')), '--version'], flagsOf(cfsctl));
});

for (const { name, command } of commands) {
  test(`cfsctl(1): options and arguments of ${name}`, () => {
    const lines = manual.linesOf(cfsctlPage, 'COMMANDS', name);
    assertSame(manual.listedFlags(lines), flagsOf(command));
    const start = lines.slice(0, lines.indexOf('.Pp'));
    assert.deepEqual(start.slice(0, 2), ['.Nm', `.Cm ${name}`]);
    assert.deepEqual(
      manual.argumentNames(start),
      command.registeredArguments.map((argument) => argument.name()),
    );
    if (!start.includes('.Op Ar options')) assertSame(manual.optionalFlags(start), flagsOf(command));
  });
}

test('cfsmountd(8): options', () => {
  const page = manual.readPage('cfsmountd.8');
  const flags = flagsOf(createProgram());
  assertSame(manual.listedFlags(manual.linesOf(page, 'OPTIONS')), [...flags, '--help']);
  assertSame([...manual.optionalFlags(manual.linesOf(page, 'SYNOPSIS')), '--version'], flags);
});

test('cfsmountd.conf(5): keys', () => {
  assertSame(manual.listedKeys(manual.linesOf(manual.readPage('cfsmountd.conf.5'), 'DESCRIPTION')), CONFIG_KEYS);
});

test('cfsmountd-policy(5): tables and their keys', () => {
  const page = manual.readPage('cfsmountd-policy.5');
  const tables = manual.subsectionsOf(page, 'DESCRIPTION');
  assertSame(
    tables.map((table) => table.replaceAll(/[[\]]/g, '')),
    knownKeys([]),
  );
  for (const table of tables) {
    const name = table.replaceAll(/[[\]]/g, '');
    assertSame(manual.listedKeys(manual.linesOf(page, 'DESCRIPTION', table)), knownKeys([name]));
  }
});

const wirePage = manual.readPage('org.composefs.Mount1.5');
const wireLines = (subsection: string): readonly string[] => manual.linesOf(wirePage, 'DESCRIPTION', subsection);

test('org.composefs.Mount1(5): methods, their arguments and results', () => {
  const list = (args: readonly Argument[]): string => args.map(({ name, type }) => `${type} ${name}`).join(', ');
  assertSame(
    manual.listedMethods(wireLines('Methods')),
    MOUNT_INTERFACE.members.map((member) => `${member.name}(${list(member.in)}) → ${list(member.out)}`),
  );
});

test('org.composefs.Mount1(5): options', () => {
  assert.throws(
    () => parseCheckImage(['base', [['no-such-option', variant('b', true)]]]),
    (error: Error) => {
      const known = /allowed: (.*)$/.exec(error.message)![1]!.split(', ');
      assertSame(manual.listedKeys(wireLines('Options')), known);
      return true;
    },
  );
});

const digest = parseVerityDigest(`sha256:${'00'.repeat(32)}`);
const DICTS: Readonly<Record<string, Dict>> = {
  'Result of a mount': encodeMountResult({ id: 1n, digest, rule: '', verified: 'copy', type: 'erofs', locked: true }),
  'Report of a check': encodeCheckReport({
    verdict: 'deny',
    rule: '',
    because: '',
    hint: '',
    digest,
    type: 'erofs',
    nosuid: false,
    noexec: false,
    considered: [],
    entries: 1,
    devices: 0,
    setuid: 0,
    setgid: 0,
    fcaps: 0,
    'largest-uid': 0,
    'largest-gid': 0,
    canonical: true,
    objects: 0,
    missing: 0,
  }),
  'Image in a list': encodeImageEntry({ name: '', digest, rule: '', repository: '', type: 'erofs' }),
  'Mount in a list': encodeMountEntry({ id: 1n, uid: 0, digest, rule: '', since: 0, userns: 0n, type: 'erofs', trusted: true }),
  Properties: encodePolicySummary({ rules: 0, digests: 0, repositories: 0, loaded: 0 }),
};
for (const [subsection, dict] of Object.entries(DICTS)) {
  test(`org.composefs.Mount1(5): ${subsection}`, () => {
    assertSame(
      manual.listedTypes(wireLines(subsection)),
      dict.map(([key, { signature }]) => `${key} ${signature}`),
    );
  });
}

test('org.composefs.Mount1(5): properties', () => {
  assertSame(
    manual.listedTypes(wireLines('Properties'), 'Va'),
    MOUNT_INTERFACE.properties.map(({ name, type }) => `${name} ${type}`),
  );
});

test('org.composefs.Mount1(5): errors', () => {
  assertSame(manual.listedErrors(manual.linesOf(wirePage, 'ERROR NAMES')), ERROR_CODES);
});
