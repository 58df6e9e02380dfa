import type { Command } from 'commander';
import { isNoService } from '../remote-error.js';
import { connectFor, wantsJson } from './globals.js';

const IMAGE = `
IMAGE is a digest, or a path if it starts with / or ./, or a name in a repository.`;

const VALIDATE = `
Without DIR: the directories of the service, a file of /etc in place of one of the
same name in /run, and that in place of one in /usr/lib. Needs no service.

Exit status: 0 the policy can be used, 1 not: each line says what to mend.

Examples:
  cfsctl policy validate
  cfsctl policy validate ./policy.d`;

const SHOW = `
What the files say now: cfsctl status tells when the service read them. Needs no
service, but the right to read the files.

Examples:
  cfsctl policy show
  cfsctl --json policy show | jq '.rules[] | {name, source}'`;

const TEST = `${IMAGE}

Every rule is listed with what it says. Groups are those of a login. Needs no
service, but the right to read the files; of a digest alone it is not known what
is in the image.

Exit status: 0 if the user may mount the image, 1 if not.

Examples:
  cfsctl policy test --user alice ./base.cfs
  cfsctl policy test --user 1000 team/base`;

const TRUST = `${IMAGE}

Writes a policy file of one rule, and has the service read it. With neither --user
nor --group the image is trusted for everyone. Nothing is written that would break
the policy. As root.

Examples:
  cfsctl policy trust ./base.cfs --name team-base --group team
  cfsctl policy trust sha256:37db4a12… --name alice-only --user alice`;

const UNTRUST = `
Removes the file that cfsctl policy trust wrote, and has the service read the rest.
Mounts that are there go on; cfsctl mounts marks them. As root.

Example:
  cfsctl policy untrust team-base`;

export function addPolicyCommand(program: Command): void {
  const policy = program.command('policy').description('look at the policy, try it out, trust an image');
  addValidate(policy);
  addTest(policy);
  addShow(policy);
  addTrust(policy);
  addUntrust(policy);
}

const collect = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value];

function addValidate(policy: Command): void {
  policy
    .command('validate')
    .description('say what is wrong with policy files')
    .argument('[DIR]', 'directory of policy files')
    .addHelpText('after', VALIDATE)
    .action(async (directory: string | undefined, _options: unknown, command: Command) => {
      const { runPolicyValidate } = await import('../offline.js');
      runPolicyValidate(directory, wantsJson(command));
    });
}

function addTest(policy: Command): void {
  policy
    .command('test')
    .description('say whether a user may mount an image, and what each rule says')
    .argument('<IMAGE>', 'digest, name or path of the image')
    .requiredOption('--user <user>', 'name or id of the user')
    .option('--policy-dir <dir>', 'directory of policy files; may be repeated', collect)
    .option('--repo <dir>', 'further repository to look for a name; may be repeated', collect)
    .addHelpText('after', TEST)
    .action(async (image: string, options: { user: string; policyDir?: string[]; repo?: string[] }, command: Command) => {
      const { runPolicyTest } = await import('../offline.js');
      runPolicyTest(image, { ...options, json: wantsJson(command) });
    });
}

function addShow(policy: Command): void {
  policy
    .command('show')
    .description('show the policy, and where each rule stands')
    .option('--policy-dir <dir>', 'directory of policy files; may be repeated', collect)
    .addHelpText('after', SHOW)
    .action(async ({ policyDir }: { policyDir?: string[] }, command: Command) => {
      const { runPolicyShow } = await import('../offline.js');
      runPolicyShow(policyDir, wantsJson(command));
    });
}

interface TrustOptions {
  readonly name: string;
  readonly user?: string[];
  readonly group?: string[];
  readonly policyDir?: string;
  readonly repo?: string[];
}

function addTrust(policy: Command): void {
  policy
    .command('trust')
    .description('trust an image for users and groups')
    .argument('<IMAGE>', 'digest, name or path of the image')
    .requiredOption('--name <name>', 'name of the rule')
    .option('--user <user>', 'name or id of a user; may be repeated', collect)
    .option('--group <group>', 'name or id of a group; may be repeated', collect)
    .option('--policy-dir <dir>', 'where to write it (default: /etc/cfsmountd/policy.d)')
    .option('--repo <dir>', 'further repository to look for a name; may be repeated', collect)
    .addHelpText('after', TRUST)
    .action(async (image: string, options: TrustOptions, command: Command) => {
      const { runPolicyTrust } = await import('../offline.js');
      runPolicyTrust(image, { ...options, json: wantsJson(command), reload: () => reload(command) });
    });
}

function addUntrust(policy: Command): void {
  policy
    .command('untrust')
    .description('take away what trust has written')
    .argument('<NAME>', 'name of the rule')
    .option('--policy-dir <dir>', 'where it stands (default: /etc/cfsmountd/policy.d)')
    .addHelpText('after', UNTRUST)
    .action(async (name: string, options: { policyDir?: string }, command: Command) => {
      const { runPolicyUntrust } = await import('../offline.js');
      runPolicyUntrust(name, { ...options, json: wantsJson(command), reload: () => reload(command) });
    });
}

/** False if there is no service to tell. Throws `RequestError` if there is one and it does not take the policy. */
function reload(command: Command): boolean {
  try {
    using client = connectFor(command);
    client.reload();
    return true;
  } catch (error) {
    if (isNoService(error)) return false;
    throw error;
  }
}
