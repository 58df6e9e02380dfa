import type { Command } from 'commander';
import { nameOfUid } from '../../core/kernel/identity.js';
import { formatIsoTime, formatJson, formatTable, formatTime, print, shortenDigest } from '../output.js';
import { connectFor, wantsJson } from './globals.js';

const HELP = `
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
      const rows = mounts.map(({ id, uid, digest, rule, since, type }) => {
        const shown = wide === true ? digest : shortenDigest(digest);
        return [String(id), nameOfUid(uid) ?? String(uid), shown, rule, formatTime(since), type];
      });
      print(formatTable(['ID', 'USER', 'DIGEST', 'RULE', 'SINCE', 'TYPE'], rows));
    });
}
