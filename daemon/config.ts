// Command line and configuration file of the daemon. A flag replaces what the file says.
import { readFileSync } from 'node:fs';

import { Command, InvalidArgumentError } from 'commander';
import { getStaticTOMLValue, parseTOML } from 'toml-eslint-parser';
import * as z from 'zod';

import { whyReplaceable } from '../core/kernel/trusted-path.js';
import { DEFAULT_SOCKET } from '../core/wire/names.js';
import { VERSION } from '../core/wire/version.js';
import { KEY_DIRECTORIES, POLICY_DIRECTORIES } from '../policy/files/directories.js';

export interface Config {
  readonly policyDirectories: readonly string[];
  /** Of certificates that are trusted to sign images; a file of a later one masks those of the same name. */
  readonly keyDirectories: readonly string[];
  readonly socket: string;
  /** "system": if there is one; "none"; or an address of the form unix:path=…. */
  readonly bus: string;
  readonly repositories: readonly string[];
  readonly stateDirectory: string;
  /** Seconds without a client, or a mount that would be forgotten, until the daemon ends; 0: never; undefined: as is fit for how it was started. */
  readonly idleExit: number | undefined;
}

/** What is wrong with the configuration, for the administrator. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const DEFAULT_CONFIG = '/etc/cfsmountd/cfsmountd.conf';
const DEFAULTS: Config = {
  policyDirectories: POLICY_DIRECTORIES,
  keyDirectories: KEY_DIRECTORIES,
  socket: DEFAULT_SOCKET,
  bus: 'system',
  repositories: [],
  stateDirectory: '/var/lib/cfsmountd',
  idleExit: undefined,
};

const path = z.string().regex(/^\/[^\0]*$/, 'must be an absolute path');
const fileSchema = z.strictObject({
  'policy-dir': z.array(path).min(1).optional(),
  'key-dir': z.array(path).min(1).optional(),
  socket: path.optional(),
  bus: z
    .string()
    .regex(/^(system|none|unix:.+)$/, 'must be "system", "none" or an address unix:path=…')
    .optional(),
  repo: z.array(path).optional(),
  'state-dir': path.optional(),
  'idle-exit': z.int().min(0).max(31_536_000).optional(),
});
type FileConfig = z.output<typeof fileSchema>;

/** The keys of the configuration file. */
export const CONFIG_KEYS: readonly string[] = Object.keys(fileSchema.shape);

function parseConfigFile(file: string, text: string): FileConfig {
  let value: unknown;
  try {
    value = getStaticTOMLValue(parseTOML(text));
  } catch (error) {
    const { lineNumber = 1, message } = error as { lineNumber?: number; message: string };
    throw new ConfigError(`${file}:${lineNumber}: ${message}`);
  }
  const parsed = fileSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const where = issue.path.join('.') || 'file';
  throw new ConfigError(`${file}: ${where}: ${issue.message}; known keys are ${CONFIG_KEYS.join(', ')}`);
}

function readConfigFile(file: string, mustExist: boolean): FileConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (!mustExist && (error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new ConfigError(`${file}: ${(error as Error).message}`);
  }
  const why = whyReplaceable(file);
  if (why) throw new ConfigError(`${file}: ${why}`);
  return parseConfigFile(file, text);
}

function seconds(text: string): number {
  if (!/^[0-9]{1,8}$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds.');
  return Number(text);
}

function absolute(text: string): string {
  if (!text.startsWith('/')) throw new InvalidArgumentError('It must be an absolute path.');
  return text;
}

function busAddress(text: string): string {
  if (!/^(system|none|unix:.+)$/.test(text))
    throw new InvalidArgumentError('It must be system, none, or an address unix:path=….');
  return text;
}

const collect = (text: string, before: readonly string[] | undefined): string[] => [...(before ?? []), absolute(text)];

interface Flags {
  config?: string;
  policyDir?: string[];
  keyDir?: string[];
  socket?: string;
  bus?: string;
  repo?: string[];
  stateDir?: string;
  idleExit?: number;
}

export function createProgram(): Command {
  return new Command('cfsmountd')
    .description('Mounts trusted composefs and EROFS images for unprivileged callers.')
    .version(VERSION)
    .option('--config <file>', `configuration file (default: ${DEFAULT_CONFIG}, if it is there)`)
    .option(
      '--policy-dir <dir>',
      'directory of policy files, repeatable; a later one masks (default: policy.d in /usr/lib, /run and /etc/cfsmountd)',
      collect,
    )
    .option(
      '--key-dir <dir>',
      'directory of certificates that may sign images, repeatable; a later one masks (default: keys.d in /usr/lib, /run and /etc/cfsmountd)',
      collect,
    )
    .option('--socket <path>', `direct socket (default: ${DEFAULTS.socket})`, absolute)
    .option('--bus <bus>', 'system, none, or an address unix:path=… (default: system, if there is one)', busAddress)
    .option('--repo <dir>', 'further image repository, repeatable; its objects need fs-verity', collect)
    .option('--state-dir <dir>', `private copies of images (default: ${DEFAULTS.stateDirectory})`, absolute)
    .option(
      '--idle-exit <seconds>',
      'end after so long without a client, or a live mount that would be forgotten; 0: never (default: 300 if a call started it, else 0)',
      seconds,
    )
    .allowExcessArguments(false);
}

/** Reads flags and file. Throws ConfigError. */
export function readConfig(flags: Flags): Config {
  const file = readConfigFile(flags.config ?? DEFAULT_CONFIG, flags.config !== undefined);
  return {
    policyDirectories: flags.policyDir ?? file['policy-dir'] ?? DEFAULTS.policyDirectories,
    keyDirectories: flags.keyDir ?? file['key-dir'] ?? DEFAULTS.keyDirectories,
    socket: flags.socket ?? file.socket ?? DEFAULTS.socket,
    bus: flags.bus ?? file.bus ?? DEFAULTS.bus,
    repositories: flags.repo ?? file.repo ?? DEFAULTS.repositories,
    stateDirectory: flags.stateDir ?? file['state-dir'] ?? DEFAULTS.stateDirectory,
    idleExit: flags.idleExit ?? file['idle-exit'] ?? DEFAULTS.idleExit,
  };
}
