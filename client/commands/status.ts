import type { Command } from 'commander';
import { lackingOf, purposeOf, tierOf } from '../features.js';
import type { ServiceStatus } from '../mount-client.js';
import { formatFields, formatIsoTime, formatJson, formatTime, print } from '../output.js';
import { connectFor, wantsJson } from './globals.js';

const HELP = `
Examples:
  cfsctl status
  cfsctl --address system status`;

export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('show the service, what this kernel can do, and the policy in force')
    .addHelpText('after', HELP)
    .action((_options: unknown, command: Command) => {
      using client = connectFor(command);
      const status = client.status();
      const { address } = client;
      if (!wantsJson(command)) return print(formatStatus(status, address));
      const policy = { ...status.policy, loaded: formatIsoTime(status.policy.loaded) };
      print(
        formatJson({
          version: status.version,
          address,
          tier: tierOf(status.features),
          features: status.features,
          lacking: lackingOf(status.features),
          policy,
        }),
      );
    });
}

export function formatStatus({ version, features, policy }: ServiceStatus, address: string): string {
  const lacking = lackingOf(features);
  const width = Math.max(0, ...[...features, ...lacking].map((feature) => feature.length));
  const explain = (names: readonly string[]): string[] =>
    names.map((name) => `${name.padEnd(width)}  ${purposeOf(name)}`.trimEnd());
  return formatFields([
    ['version', version],
    ['address', address],
    ['policy', `rules ${policy.rules}, trusted digests ${policy.digests}, repositories ${policy.repositories}`],
    ['loaded', formatTime(policy.loaded)],
    ['tier', tierOf(features)],
    ['features', explain(features)],
    ...(lacking.length > 0 ? [['lacking', explain(lacking)] as const] : []),
  ]);
}
