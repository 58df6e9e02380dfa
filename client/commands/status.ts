import type { Command } from 'commander';
import { purposeOf } from '../features.js';
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
      print(formatJson({ version: status.version, address, features: status.features, policy }));
    });
}

export function formatStatus({ version, features, policy }: ServiceStatus, address: string): string {
  const width = Math.max(0, ...features.map((feature) => feature.length));
  return formatFields([
    ['version', version],
    ['address', address],
    ['policy', `rules ${policy.rules}, trusted digests ${policy.digests}, repositories ${policy.repositories}`],
    ['loaded', formatTime(policy.loaded)],
    ['features', features.map((feature) => `${feature.padEnd(width)}  ${purposeOf(feature)}`.trimEnd())],
  ]);
}
