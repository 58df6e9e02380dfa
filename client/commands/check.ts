import type { Command } from 'commander';
import type { CheckReport } from '../../core/wire/results.js';
import { openImageFile, openObjectStores } from '../image.js';
import type { MountClient } from '../mount-client.js';
import { formatFields, formatJson, paint, print } from '../output.js';
import { connectFor, wantsJson } from './globals.js';
import {
  IMAGE_HELP,
  type ImageArgumentOptions,
  addImageArgument,
  imageOptionsOf,
  requireConsistentImage,
} from './image-argument.js';

const HELP = `${IMAGE_HELP}

Exit status: 0 if you may mount the image, 1 if not.

Examples:
  cfsctl check base
  cfsctl check ./root.cfs --objects ./objects
  cfsctl --json check sha256:37db4a12…`;

export function addCheckCommand(program: Command): void {
  addImageArgument(program.command('check'))
    .description('say whether you may mount an image, and why; mounts nothing')
    .addHelpText('after', HELP)
    .action((image: string, options: ImageArgumentOptions, command: Command) => {
      const byPath = requireConsistentImage(command, image, options);
      using client = connectFor(command);
      const report = byPath ? checkPath(client, image, options) : client.checkImage(image, imageOptionsOf(image, false, options));
      print(wantsJson(command) ? formatJson(report) : formatReport(report));
      if (report.verdict === 'deny') process.exitCode = 1;
    });
}

function checkPath(client: MountClient, path: string, options: ImageArgumentOptions): CheckReport {
  using file = openImageFile(path);
  using stores = openObjectStores(options.objects ?? []);
  return client.checkFile(file, stores.fds, imageOptionsOf(path, true, options));
}

const VERDICTS = { allow: 'allowed', ask: 'allowed if polkit grants it', deny: 'denied' } as const;

export function formatReport(report: CheckReport): string {
  const verdict = paint(report.verdict === 'deny' ? 'red' : 'green', VERDICTS[report.verdict]);
  const restrictions = ['ro', 'nodev', ...(report.nosuid ? ['nosuid'] : []), ...(report.noexec ? ['noexec'] : [])];
  const fields = formatFields([
    ['rule', report.rule],
    ['reason', report.because],
    ['hint', report.hint === '' ? '' : report.hint.split('\n')],
    ['digest', report.digest],
    ['type', report.type],
    ['signed by', report['signed-by'] ?? []],
    ['signature', report['signature-problem'] ?? ''],
    ['options', report.verdict === 'deny' ? '' : restrictions.join(',')],
    ['looked at', report.considered],
    ...formatFacts(report),
  ]);
  return `${verdict}\n${fields}`;
}

/** What is in the image, if the service says. */
function formatFacts(report: CheckReport): [name: string, value: string][] {
  const { entries, devices, setuid, setgid, fcaps, canonical, objects, missing } = report;
  if (entries === undefined) return [];
  const stored = missing === undefined ? '' : missing === 0 ? ', all there' : `, ${missing} missing`;
  const composefs: [string, string][] = [
    ['objects', `${objects}${stored}`],
    ['canonical', canonical === true ? 'yes' : 'no'],
  ];
  return [
    ['entries', String(entries)],
    ['devices', String(devices)],
    ['set-uid', String(setuid)],
    ['set-gid', String(setgid)],
    ['file caps', String(fcaps)],
    ['largest uid', String(report['largest-uid'])],
    ['largest gid', String(report['largest-gid'])],
    ...(report.type === 'composefs' ? composefs : []),
  ];
}
