// A real daemon on a private socket, with a policy of the test's own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { DIST, PATIENCE, requirePrivileges } from './machine.js';
import { makeScratch } from './scratch.js';

export interface DaemonOptions {
  /** Text of the one policy file. */
  readonly policy?: string;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Uses this directory (policy.d, state) instead of a new one; it is not removed. */
  readonly directory?: string;
  /** Where the programs are, if not where all are built. */
  readonly programs?: string;
}

export interface LogLine {
  readonly msg: string;
  readonly audit?: boolean;
  readonly [field: string]: unknown;
}

export interface Daemon {
  readonly pid: number;
  readonly socket: string;
  readonly address: string;
  readonly directory: string;
  readonly process: ChildProcess;
  writePolicy(text: string): void;
  /** Lines of the log so far; what is not JSON (a crash) throws. */
  log(): LogLine[];
  audits(): LogLine[];
  stderr(): string;
  /** Names of what its open descriptors refer to, by number. */
  fds(): Map<number, string>;
  /** Waits until the condition holds, at most 10 s, and fails with the text otherwise. */
  eventually(what: string, condition: () => boolean): Promise<void>;
  /** SIGTERM; fails unless it ends by itself with status 0. */
  stop(): Promise<void>;
  kill(): Promise<void>;
}

const READY_TIMEOUT = 30_000;

/** `timeoutMs` on a real machine. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs * PATIENCE;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs * PATIENCE} ms: ${what}`);
    await sleep(20);
  }
}

export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  requirePrivileges();
  const scratch = options.directory === undefined ? makeScratch() : undefined;
  const directory = options.directory ?? scratch!.path;
  const policyDirectory = join(directory, 'policy.d');
  const socket = join(directory, 'socket');
  mkdirSync(policyDirectory, { recursive: true });
  const writePolicy = (text: string): void => writeFileSync(join(policyDirectory, 'test.toml'), text);
  if (options.policy !== undefined) writePolicy(options.policy);
  const flags = [
    '--policy-dir',
    policyDirectory,
    '--key-dir',
    join(directory, 'keys.d'),
    '--state-dir',
    join(directory, 'state'),
    '--socket',
    socket,
    '--bus',
    'none',
  ];
  const child = spawn(join(options.programs ?? DIST, 'cfsmountd'), [...flags, ...(options.flags ?? [])], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], ...options.env },
  });
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const lines = (): LogLine[] =>
    stderr
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as LogLine);
  try {
    await eventually(
      'the daemon is ready',
      () => {
        if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}: ${stderr}`);
        return stderr.includes('"msg":"ready"');
      },
      READY_TIMEOUT,
    );
  } catch (error) {
    child.kill('SIGKILL');
    scratch?.remove();
    throw error;
  }
  const ended = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, 'exit');
    }
    scratch?.remove();
  };
  return {
    pid: child.pid!,
    socket,
    address: `unix:path=${socket}`,
    directory,
    process: child,
    writePolicy,
    log: lines,
    audits: () => lines().filter((line) => line.audit === true),
    stderr: () => stderr,
    fds: () => openFds(child.pid!),
    eventually,
    async stop() {
      await ended('SIGTERM');
      if (child.exitCode !== 0) throw new Error(`the daemon ended with ${child.exitCode ?? child.signalCode}:\n${stderr}`);
    },
    kill: () => ended('SIGKILL'),
  };
}

/** What each open descriptor of a process refers to. */
export function openFds(pid: number): Map<number, string> {
  const entries = readdirSync(`/proc/${pid}/fd`).flatMap((name): [number, string][] => {
    try {
      return [[Number(name), readlinkSync(`/proc/${pid}/fd/${name}`)]];
    } catch {
      return []; // closed meanwhile
    }
  });
  return new Map(entries);
}

export function readStatus(pid: number, field: string): string {
  return new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
}
