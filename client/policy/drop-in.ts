// Policy files of one rule, written and removed by cfsctl.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';
import { removeFile, writeWholeFile } from '../whole-file.js';

/** A name that can stand in a file name and a rule as it is. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const FIRST_LINE = '# Written by cfsctl policy trust; cfsctl policy untrust takes it away.';

/** Throws `RequestError` BadRequest. */
export function dropInOf(directory: string, name: string): string {
  if (NAME.test(name)) return join(directory, `trusted-${name}.toml`);
  throw new RequestError('BadRequest', `the name of the rule is not 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit`);
}

export interface NewRule {
  readonly name: string;
  readonly digest: string;
  /** Names or ids, as on the command line. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
}

export function composeRule({ name, digest, users, groups }: NewRule): string {
  const list = (key: string, all: readonly string[]): string[] =>
    all.length === 0 ? [] : [`${key} = [${all.map((one) => (/^\d+$/.test(one) ? one : JSON.stringify(one))).join(', ')}]`];
  const lines = [`name = "${name}"`, `digests = ["${digest}"]`, ...list('users', users), ...list('groups', groups)];
  return [FIRST_LINE, '[[rule]]', ...lines, ''].join('\n');
}

/** Writes a file that appears whole, readable for everybody. Throws `RequestError`. */
export function writeDropIn(directory: string, path: string, text: string): void {
  orExplain(`${path} cannot be written`, () => {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    writeWholeFile(path, text, 0o644);
  });
}

/** Whether there is such a file. Throws `RequestError` if somebody else wrote it. */
export function findDropIn(path: string): boolean {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw explain(`${path} cannot be read`, error);
  }
  if (text.startsWith(FIRST_LINE)) return true;
  throw new RequestError('Failed', `${path} was not written by cfsctl policy trust`, { hint: 'edit or remove it yourself' });
}

/** Throws `RequestError`. */
export function removeDropIn(path: string): void {
  orExplain(`${path} cannot be removed`, () => removeFile(path));
}

function orExplain(what: string, run: () => void): void {
  try {
    run();
  } catch (error) {
    throw explain(what, error);
  }
}

function explain(what: string, cause: unknown): unknown {
  const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
  if (typeof code !== 'string') return cause;
  const denied = code === 'EACCES' || code === 'EPERM';
  return new RequestError(denied ? 'NotAuthorized' : 'Failed', `${what} (${code})`, {
    hint: denied ? 'run it as root' : undefined,
    cause,
  });
}
