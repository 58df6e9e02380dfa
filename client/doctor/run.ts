// cfsctl doctor: everything that podman and the service need of each other, and what to mend.
import { resolve } from 'node:path';
import { nameOfUid } from '../../core/kernel/identity.js';
import { RequestError } from '../../core/wire/errors.js';
import type { ConnectOptions } from '../connect.js';
import { escapeText, formatJson, paint, print } from '../output.js';
import { readSurroundings } from '../user-namespace.js';
import { type Finding, failureOf, warn } from './finding.js';
import { checkHost } from './host.js';
import { checkPlugin } from './plugin.js';
import { checkPodman } from './podman.js';
import { checkService } from './service.js';
import { checkStore, judgeExported, readImages } from './store.js';

export interface DoctorOptions {
  readonly store: string;
  readonly service: ConnectOptions;
  readonly json: boolean;
}

/** The exit status is 1 if something fails. */
export async function runDoctor(options: DoctorOptions): Promise<void> {
  if (!readSurroundings().inInitialUserns)
    throw new RequestError('BadRequest', 'this is a user namespace, from where not all can be seen', {
      hint: 'run it outside of podman unshare',
    });
  const findings = await examine(options);
  print(
    options.json ? formatJson(findings.map(({ mend = null, ...finding }) => ({ ...finding, mend }))) : formatFindings(findings),
  );
  if (findings.some(({ status }) => status === 'fail')) process.exitCode = 1;
}

async function examine({ store: given, service }: DoctorOptions): Promise<Finding[]> {
  // As it has to stand in storage.conf.
  const store = resolve(given);
  const uid = process.getuid?.() ?? 0;
  const ofService = await guard('service', () => checkService(service));
  if (uid === 0) return [...ofService, ...(await guard('store', () => [judgeExported(store, readImages(store))])), ROOT_IS_NOT];
  const podman = checkPodman();
  return [
    ...ofService,
    ...(await guard('host', () => checkHost({ uid, name: nameOfUid(uid) }))),
    ...podman.findings,
    ...(await guard('store', () => checkStore(store, podman.info))),
    ...(await guard('volume plugin', async () => [await checkPlugin()])),
  ];
}

const ROOT_IS_NOT = warn('podman', 'is not looked at: you are root', 'run cfsctl doctor as the user whose podman it is');

async function guard(check: string, look: () => readonly Finding[] | Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await look();
  } catch (error) {
    return [failureOf(check, error)];
  }
}

const COLOUR = { ok: 'green', warn: 'yellow', fail: 'red' } as const;

function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  return findings
    .flatMap(({ check, status, says, mend }) => [
      `${paint(COLOUR[status], status.padEnd(4))}  ${check.padEnd(width)}  ${escapeText(says)}\n`,
      ...(mend === undefined ? [] : [`${' '.repeat(width + 8)}mend: ${escapeText(mend)}\n`]),
    ])
    .join('');
}
