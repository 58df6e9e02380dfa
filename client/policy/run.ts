// cfsctl policy: what the files say, and what they would say of an image. Only trust and untrust write, and tell the service.
import { groupsOf, uidOf } from '../../core/kernel/identity.js';
import { RequestError } from '../../core/wire/errors.js';
import { type Considered, type Decision, type Deny, type Trust, considerRules, decide, findTrust } from '../../policy/decide.js';
import type { Caller, Policy } from '../../policy/policy.js';
import { formatCount, formatFields, formatJson, formatTable, paint, print } from '../output.js';
import { DEFAULT_REPOSITORIES } from '../repository/defaults.js';
import { composeRule, dropInOf, findDropIn, removeDropIn, writeDropIn } from './drop-in.js';
import { type AskedImage, findAskedImages, findDigest } from './find-image.js';
import { directoriesOf, inspectPolicy, readPolicy, requireUsable } from './read.js';
import { formatPolicy, policyAsJson } from './show.js';

const OWN_DIRECTORY = '/etc/cfsmountd/policy.d';

export function runPolicyValidate(directory: string | undefined, json: boolean): void {
  const { policy, problems } = inspectPolicy(directoriesOf(directory === undefined ? [] : [directory]));
  const rules = policy?.rules.length ?? 0;
  if (json) print(formatJson({ ok: problems.length === 0, rules, problems }));
  else {
    const lines = problems.map(({ file, line, message }) => `${file}:${line}: ${message}\n`);
    print(lines.length > 0 ? lines.join('') : `${formatCount(rules, 'rule')}: all is well\n`);
  }
  if (problems.length > 0) process.exitCode = 1;
}

export function runPolicyShow(directories: readonly string[] | undefined, json: boolean): void {
  const policy = readPolicy(directoriesOf(directories));
  print(json ? formatJson(policyAsJson(policy)) : formatPolicy(policy));
}

export interface TestOptions {
  readonly user: string;
  readonly policyDir?: readonly string[];
  readonly repo?: readonly string[];
  readonly json: boolean;
}

export function runPolicyTest(image: string, { user, policyDir, repo = [], json }: TestOptions): void {
  const policy = readPolicy(directoriesOf(policyDir));
  const caller = findCaller(user);
  const repositories = [...policy.repositories, ...[...repo, ...DEFAULT_REPOSITORIES].map((path) => ({ path }))];
  const judged = findAskedImages(image, repositories).map((asked) => judge(policy, asked, caller));
  const result = judged.find(({ decision }) => decision.verdict !== 'deny') ?? judged[0]!;
  print(json ? formatJson(resultAsJson(result, policy, caller)) : formatResult(result, policy));
  if (result.decision.verdict === 'deny') process.exitCode = 1;
}

function findCaller(user: string): Caller {
  const uid = uidOf(user) ?? (/^\d{1,10}$/.test(user) ? Number(user) : undefined);
  if (uid === undefined || uid > 0xffff_fffe) throw new RequestError('BadRequest', `this system has no user ${user}`);
  return { uid, gids: groupsOf(uid) };
}

interface Result {
  readonly asked: AskedImage;
  /** 'trusted' where what is in the image is not known. */
  readonly decision: Decision | Trust | Deny;
  readonly considered: readonly Considered[];
}

function judge(policy: Policy, asked: AskedImage, caller: Caller): Result {
  const now = Date.now();
  const { contents } = asked;
  const decision = contents ? decide(policy, { ...asked, contents }, caller, now) : findTrust(policy, asked, caller, now);
  return { asked, decision, considered: considerRules(policy, asked, caller, now) };
}

const VERDICTS = {
  allow: 'allowed',
  ask: 'allowed if polkit grants it',
  trusted: 'trusted, if what is in it is fit',
  deny: 'denied',
};

function restrictionsOf(decision: Result['decision']): string {
  if (decision.verdict !== 'allow' && decision.verdict !== 'ask') return '';
  return ['ro', 'nodev', ...(decision.nosuid ? ['nosuid'] : []), ...(decision.noexec ? ['noexec'] : [])].join(',');
}

function placeOf(policy: Policy, name: string): string {
  const { file, line } = policy.rules.find((rule) => rule.name === name)!.source;
  return `${file}:${line}`;
}

function formatResult({ asked, decision, considered }: Result, policy: Policy): string {
  const fields = formatFields([
    ['rule', decision.verdict === 'deny' ? '' : decision.rule],
    ['reason', decision.verdict === 'deny' ? decision.because : ''],
    ['digest', asked.digest],
    ['options', restrictionsOf(decision)],
  ]);
  const rows = considered.map(({ rule, because }) => [rule, because, placeOf(policy, rule)]);
  const verdict = paint(decision.verdict === 'deny' ? 'red' : 'green', VERDICTS[decision.verdict]);
  return `${verdict}\n${fields}${rows.length === 0 ? '' : `\n${formatTable(['RULE', 'SAYS', 'PLACE'], rows)}`}`;
}

function resultAsJson({ asked, decision, considered }: Result, policy: Policy, caller: Caller): object {
  const rules = considered.map(({ rule, because }) => ({ rule, because, place: placeOf(policy, rule) }));
  const { verdict } = decision;
  const reason = verdict === 'deny' ? decision.because : null;
  return {
    verdict,
    rule: verdict === 'deny' ? null : decision.rule,
    reason,
    options: restrictionsOf(decision),
    ...asked,
    caller,
    rules,
  };
}

export interface TrustOptions {
  readonly name: string;
  readonly user?: readonly string[];
  readonly group?: readonly string[];
  readonly policyDir?: string;
  readonly repo?: readonly string[];
  readonly json: boolean;
  /** Has the service read its policy again; false if there is none. */
  readonly reload: () => boolean;
}

export function runPolicyTrust(image: string, options: TrustOptions): void {
  const { name, user: users = [], group: groups = [], policyDir: directory = OWN_DIRECTORY, repo = [], json } = options;
  const path = dropInOf(directory, name);
  if (findDropIn(path))
    throw new RequestError('Failed', `the rule ${name} is there already`, {
      hint: `cfsctl policy untrust ${name} takes it away`,
    });
  // This one is made where it is missing.
  const directories = options.policyDir === undefined ? directoriesOf([]) : [directory];
  const repositories = [
    ...readPolicy(directories).repositories,
    ...[...repo, ...DEFAULT_REPOSITORIES].map((each) => ({ path: each })),
  ];
  const digest = findDigest(image, repositories);
  const text = composeRule({ name, digest, users, groups });
  // Nothing is written that the service would refuse: the whole policy would be with it.
  requireUsable(directories, { path, text });
  writeDropIn(directory, path, text);
  const reloaded = options.reload();
  if (json) return print(formatJson({ file: path, name, digest, reloaded }));
  const callers = [...users.map((one) => `user ${one}`), ...groups.map((one) => `group ${one}`)];
  const lines = formatFields([
    ['digest', digest],
    ['for', callers.length === 0 ? 'everyone' : callers],
    ['file', path],
  ]);
  print(reloaded ? lines : `${lines}${NO_SERVICE}`);
}

const NO_SERVICE = 'No service runs; it reads the policy when it starts.\n';

export function runPolicyUntrust(name: string, options: Pick<TrustOptions, 'policyDir' | 'json' | 'reload'>): void {
  const { policyDir: directory = OWN_DIRECTORY, json } = options;
  const path = dropInOf(directory, name);
  if (!findDropIn(path))
    throw new RequestError('Failed', `there is no rule ${name} of cfsctl policy trust in ${directory}`, {
      hint: 'cfsctl policy show tells where each rule stands',
    });
  removeDropIn(path);
  const reloaded = options.reload();
  if (json) print(formatJson({ file: path, name, reloaded }));
  else if (!reloaded) print(NO_SERVICE);
}
