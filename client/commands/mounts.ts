import type { Command } from 'commander';
import { nameOfUid } from '../../core/kernel/identity.js';
import { formatIsoTime, formatJson, formatTable, formatTime, print, shortenDigest } from '../output.js';
import { connectFor, wantsJson } from './globals.js';

const HELP = `
A mount whose image the policy trusted once, and would not trust any more for its
user, is marked. It goes on: a mount can be taken from nobody.

Examples:
  cfsctl mounts --wide
  cfsctl --json mounts | jq length`;

export function addMountsCommand(program: Command): void {
  program
    .command('mounts')
    .description("list your live mounts; root sees everybody's")
    .option('--wide', 'whole digests')
    .addHelpText('after', HELP)
    .action(({ wide }: { wide?: true }, command: Command) => {
      using client = connectFor(command);
      const mounts = client.listMounts();
      if (wantsJson(command)) return print(formatJson(mounts.map((entry) => ({ ...entry, since: formatIsoTime(entry.since) }))));
      const rows = mounts.map(({ id, uid, digest, rule, since, type, trusted }) => {
        const shown = wide === true ? digest : shortenDigest(digest);
        const trust = trusted ? '' : 'no longer trusted';
        return [String(id), nameOfUid(uid) ?? String(uid), shown, rule, formatTime(since), type, trust];
      });
      const trust = mounts.every(({ trusted }) => trusted) ? [] : ['TRUST'];
      print(formatTable(['ID', 'USER', 'DIGEST', 'RULE', 'SINCE', 'TYPE', ...trust], rows));
    });
}
