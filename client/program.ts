// The command tree, and what becomes of an error. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { RequestError } from '../core/wire/errors.js';
import { VERSION } from '../core/wire/version.js';
import { parseAddress } from './address.js';
import { addAttachCommands } from './commands/attach.js';
import { addCheckCommand } from './commands/check.js';
import { addCompletionCommand } from './commands/completion.js';
import { addDigestCommand } from './commands/digest.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addDumpCommand } from './commands/dump.js';
import { addFsckCommand } from './commands/fsck.js';
import { addGcCommand } from './commands/gc.js';
import { addImagesCommand } from './commands/images.js';
import { addImportCommand } from './commands/import.js';
import { addInfoCommand } from './commands/info.js';
import { addLogCommand } from './commands/log.js';
import { addLsCommand } from './commands/ls.js';
import { addMkfsCommand } from './commands/mkfs.js';
import { addMountCommand } from './commands/mount.js';
import { addMountsCommand } from './commands/mounts.js';
import { addObjectsCommand } from './commands/objects.js';
import { addOciCommand } from './commands/oci.js';
import { addPodmanCommand } from './commands/podman.js';
import { addPolicyCommand } from './commands/policy.js';
import { addReloadCommand } from './commands/reload.js';
import { addRmCommand } from './commands/rm.js';
import { addSetupCommand } from './commands/setup.js';
import { addSignCommand } from './commands/sign.js';
import { addStatusCommand } from './commands/status.js';
import { addTagCommand } from './commands/tag.js';
import { addVerifyCommand } from './commands/verify.js';
import { addVerifySignatureCommand } from './commands/verify-signature.js';
import { addVolumePluginCommand } from './commands/volume-plugin.js';
import { DEFAULT_TIMEOUT_MS } from './connect.js';
import { type Complaint, formatError, print, printError } from './output.js';

const EXAMPLES = `
ADDRESS is one of
  unix:path=/run/cfsmountd/socket   the service's own socket
  bus:unix:path=/some/bus           a message bus at that address
  system                            the system bus
Without it: the service's own socket, then the system bus.

Examples:
  podman unshare cfsctl mount base /mnt
  cfsctl check sha256:37db4a12…
  cfsctl --json mounts

Exit status: 0 done, 1 refused or failed, 2 wrong usage.`;

/** Runs one command and returns its exit status. The commands block the thread; what is awaited is the code of those that are loaded when they run. */
export async function runCfsctl(args: readonly string[]): Promise<number> {
  const program = buildProgram();
  let status = 0;
  try {
    await program.parseAsync(args, { from: 'user' });
    if (typeof process.exitCode === 'number') status = process.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    status = isRequestError(error) ? 1 : 2;
    const complaint = explain(error, commandOf(program, args));
    if (complaint !== undefined) printError(formatError(complaint, args.includes('--json')));
  }
  return status;
}

export function buildProgram(): Command {
  const program = new Command('cfsctl')
    .description('Mounts trusted composefs and EROFS images without privilege, through the cfsmountd service.')
    .version(VERSION)
    .option('--address <address>', 'where the service is reached', requireAddress)
    .option('--json', 'print data, and errors, as JSON')
    .option('--timeout <seconds>', 'how long to wait for the service', parseSeconds, DEFAULT_TIMEOUT_MS / 1000)
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: true })
    // Errors are written in one place, below; what commander has to say comes with the exception.
    .configureOutput({ outputError: () => undefined, writeOut: print, writeErr: printError })
    .exitOverride();
  addMountCommand(program);
  addCheckCommand(program);
  addImagesCommand(program);
  addMountsCommand(program);
  addStatusCommand(program);
  addReloadCommand(program);
  addPolicyCommand(program);
  addLogCommand(program);
  addMkfsCommand(program);
  addDigestCommand(program);
  addInfoCommand(program);
  addLsCommand(program);
  addDumpCommand(program);
  addObjectsCommand(program);
  addVerifyCommand(program);
  addSignCommand(program);
  addVerifySignatureCommand(program);
  addImportCommand(program);
  addOciCommand(program);
  addTagCommand(program);
  addRmCommand(program);
  addGcCommand(program);
  addFsckCommand(program);
  addSetupCommand(program);
  addDoctorCommand(program);
  addVolumePluginCommand(program);
  addPodmanCommand(program);
  addAttachCommands(program);
  addCompletionCommand(program);
  return program;
}

function requireAddress(text: string): string {
  try {
    parseAddress(text);
    return text;
  } catch (error) {
    if (error instanceof RequestError) throw new InvalidArgumentError(`${error.message}; ${error.hint}`);
    throw error;
  }
}

const MAX_SECONDS = 86_400;

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds > 0 && seconds <= MAX_SECONDS) return seconds;
  throw new InvalidArgumentError(`It must be a number of seconds, more than 0 and at most ${MAX_SECONDS}.`);
}

/** By name: the file that is loaded on demand has a class of its own. */
function isRequestError(error: unknown): error is RequestError {
  return error instanceof Error && error.name === 'RequestError';
}

/** `cfsctl oci import`: the words that lead to the command, as far as there is one. */
function commandOf(program: Command, args: readonly string[]): string {
  const names = ['cfsctl'];
  let command = program;
  for (const word of args) {
    const next = command.commands.find((one) => one.name() === word);
    if (next === undefined) continue;
    names.push(word);
    command = next;
  }
  return names.join(' ');
}

function explain(error: unknown, command: string): Complaint | undefined {
  if (isRequestError(error)) return error;
  if (!(error instanceof CommanderError)) throw error;
  // The help was printed instead.
  if (error.code === 'commander.help') return undefined;
  // A second line is a suggestion, in brackets.
  const [message = '', ...suggestions] = error.message.replace(/^error: /, '').split('\n');
  return {
    code: 'Usage',
    message,
    hint: [...suggestions.map((line) => line.replace(/^\((.*)\)$/, '$1')), `${command} --help`].join('\n'),
  };
}
