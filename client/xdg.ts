// Where a user's files are: XDG Base Directory specification. A value that is no absolute path counts as none, as it says there.
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { RequestError } from '../core/wire/errors.js';

/** Throws `RequestError` BadRequest where there is none: what stands for it differs from program to program. */
export function runtimeDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const given = environment['XDG_RUNTIME_DIR'];
  if (given !== undefined && isAbsolute(given)) return given;
  throw new RequestError('BadRequest', 'XDG_RUNTIME_DIR is not set', {
    hint: 'log in as the user (ssh, machinectl shell, or su with pam_systemd), or set it to /run/user/UID',
  });
}

export function stateDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return absolute(environment['XDG_STATE_HOME']) ?? join(homedir(), '.local/state');
}

export function configDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return absolute(environment['XDG_CONFIG_HOME']) ?? join(homedir(), '.config');
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}
