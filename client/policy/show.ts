// A policy for people: each rule with its place, and only what it says.
import { nameOfGid, nameOfUid } from '../../core/kernel/identity.js';
import type { Limits, Policy, Rule } from '../../policy/policy.js';
import type { Source } from '../../policy/problem.js';
import { formatFields, formatIsoTime } from '../output.js';

type Field = readonly [name: string, value: string | readonly string[]];

const at = ({ file, line }: Source): string => `${file}:${line}`;

export function formatPolicy({ limits, repositories, rules }: Policy): string {
  const head = formatFields([
    ['limits', describeLimits(limits)],
    ...repositories.map(({ path, objects, source }): Field => ['repository', `${path}, objects ${objects}, ${at(source)}`]),
    ['rules', rules.length === 0 ? 'none: nothing may be mounted' : String(rules.length)],
  ]);
  return [head, ...rules.map((rule) => formatFields(describeRule(rule)))].join('\n');
}

function describeLimits({ mountsPerUser, mountsPerMinute, mountsTotal }: Limits): readonly string[] {
  const perMinute = mountsPerMinute === null ? [] : [`mounts-per-minute ${mountsPerMinute}`];
  return [`mounts-per-user ${mountsPerUser}`, ...perMinute, ...(mountsTotal === null ? [] : [`mounts-total ${mountsTotal}`])];
}

function describeRule(rule: Rule): Field[] {
  const { repository, signature, list } = rule;
  return [
    ['rule', rule.name],
    ['place', at(rule.source)],
    ['verdict', rule.deny ? 'deny' : ''],
    ['digests', [...rule.digests]],
    ['digest-file', list ? `${list.file}, ${list.size} digests` : ''],
    ['repository', repository?.path ?? ''],
    ['names', repository?.names ?? ''],
    ['signature', signature ? [...(signature.signers ?? ['by any certificate in force'])] : ''],
    ['polkit', rule.polkit ?? ''],
    ['for', describeCallers(rule)],
    ['not before', rule.notBefore === null ? '' : (formatIsoTime(rule.notBefore) ?? '')],
    ['not after', rule.notAfter === null ? '' : (formatIsoTime(rule.notAfter) ?? '')],
    ['conditions', describeConditions(rule)],
    ['adds', [...(rule.nosuid ? ['nosuid'] : []), ...(rule.noexec ? ['noexec'] : [])]],
  ];
}

function describeCallers({ uids, gids }: Rule): readonly string[] {
  if (uids === null && gids === null) return ['everyone'];
  const users = [...(uids ?? [])].map((uid) => `user ${nameOfUid(uid) ?? ''} (${uid})`.replace('  ', ' '));
  const groups = [...(gids ?? [])].map((gid) => `group ${nameOfGid(gid) ?? ''} (${gid})`.replace('  ', ' '));
  return [...users, ...groups];
}

/** Those that differ from what a rule without them says. */
function describeConditions(rule: Rule): readonly string[] {
  if (rule.deny) return [];
  return [
    ...(rule.devices === 'allow' ? ['device nodes allowed'] : []),
    ...(['setuid', 'fcaps', 'canonical'] as const).filter((key) => rule[key] === 'deny').map((key) => `${key} = "deny"`),
    ...(rule.maxEntries === null ? [] : [`max-entries ${rule.maxEntries}`]),
    ...(rule.maxSize === null ? [] : [`max-size ${rule.maxSize}`]),
  ];
}

/** Sets as lists, times as text; a list of digests by its file and size. */
export function policyAsJson({ limits, repositories, rules }: Policy): object {
  return { limits, repositories, rules: rules.map(ruleAsJson) };
}

function ruleAsJson(rule: Rule): object {
  const { digests, list, signature, uids, gids, notBefore, notAfter, ...plain } = rule;
  return {
    ...plain,
    digests: [...digests],
    list: list && { file: list.file, digests: list.size },
    signature: signature && { signers: signature.signers && [...signature.signers] },
    uids: uids && [...uids],
    gids: gids && [...gids],
    notBefore: notBefore === null ? null : formatIsoTime(notBefore),
    notAfter: notAfter === null ? null : formatIsoTime(notAfter),
  };
}
