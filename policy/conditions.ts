import type { Contents, Rule } from './policy.js';

/** Why a rule does not allow an image with these contents: `the image has 3 device nodes, and REST says devices = "deny"`. Undefined if its conditions hold. */
export function describeViolation(rule: Rule, contents: Contents, whose: string): string | undefined {
  const { devices, setUid, setGid, fileCapabilities, canonical, entries, size } = contents;
  const found: readonly (readonly [key: keyof Conditions, what: string | undefined])[] = [
    ['devices', devices > 0 ? `has ${count(devices, 'device node')}` : undefined],
    ['setuid', setUid + setGid > 0 ? `has ${countSetId(setUid, setGid)}` : undefined],
    ['fcaps', fileCapabilities > 0 ? `has ${count(fileCapabilities, 'file')} with capabilities` : undefined],
    ['canonical', canonical === true ? undefined : 'is not in canonical form'],
  ];
  const violated = [
    ...found.flatMap(([key, what]) => (what !== undefined && rule[key] === 'deny' ? [{ what, line: `${key} = "deny"` }] : [])),
    ...whyTooLarge('max-entries', rule.maxEntries, entries, count(entries, 'name')),
    ...whyTooLarge('max-size', rule.maxSize, size, count(size, 'byte')),
  ];
  if (violated.length === 0) return undefined;
  const faults = violated.map(({ what }) => what).join(' and ');
  const lines = violated.map(({ line }) => line).join(' and ');
  return `the image ${faults}, and ${whose} says ${lines}`;
}

function whyTooLarge(key: string, most: number | null, actual: number, shown: string): { what: string; line: string }[] {
  return most === null || actual <= most ? [] : [{ what: `has ${shown}`, line: `${key} = ${most}` }];
}

type Conditions = Pick<Rule, 'devices' | 'setuid' | 'fcaps' | 'canonical'>;

/** One file may have both bits: the numbers are not added up. */
function countSetId(setUid: number, setGid: number): string {
  const parts = [setUid > 0 ? count(setUid, 'set-uid file') : '', setGid > 0 ? count(setGid, 'set-gid file') : ''];
  return parts.filter((part) => part !== '').join(' and ');
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
