// Where a user's files are: XDG Base Directory specification. A value that is no absolute path counts as none, as it says there.
import { userInfo } from 'node:os';
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
  return absolute(environment['XDG_STATE_HOME']) ?? join(homeDirectory(environment), '.local/state');
}

export function configDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return absolute(environment['XDG_CONFIG_HOME']) ?? join(homeDirectory(environment), '.config');
}

export function dataDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return absolute(environment['XDG_DATA_HOME']) ?? join(homeDirectory(environment), '.local/share');
}

/** HOME, or what passwd(5) says where that is empty. Throws `RequestError` BadRequest. */
function homeDirectory({ HOME }: NodeJS.ProcessEnv): string {
  const home = absolute(HOME === undefined || HOME === '' ? homeOfUser() : HOME);
  if (home !== undefined) return home;
  throw new RequestError('BadRequest', 'HOME is not set to an absolute path', { hint: 'log in as the user, or set it' });
}

function homeOfUser(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    // A uid without an entry.
    return undefined;
  }
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}
