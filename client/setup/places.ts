// Which files podman reads, of a user without privilege.
import { accessSync, constants, existsSync, readFileSync, readdirSync } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { dirname, isAbsolute, join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { configDirectory, dataDirectory } from '../xdg.js';
import { type Values, parseTomlFile, valueAt } from './toml-file.js';

/** Drop-ins of containers.conf are read by podman 4.3 already; of storage.conf there are none before podman 6. Throws `RequestError`. */
export function storageConf(environment: NodeJS.ProcessEnv = process.env): string {
  const given = environment['CONTAINERS_STORAGE_CONF'];
  if (given === undefined || given === '') return join(configDirectory(environment), 'containers/storage.conf');
  if (isAbsolute(given)) return given;
  throw new RequestError('BadRequest', 'CONTAINERS_STORAGE_CONF is not an absolute path', { hint: 'unset it, or write it out' });
}

export function pluginConf(environment: NodeJS.ProcessEnv = process.env): string {
  return join(configDirectory(environment), 'containers/containers.conf.d/50-cfsctl.conf');
}

/** Every byte of it, a byte order mark too; undefined if there is no such file. Throws `RequestError` if it cannot be read, or is not UTF-8. */
export function readIfThere(path: string): string | undefined {
  const bytes = readBytes(path);
  if (bytes === undefined || isUtf8(bytes)) return bytes?.toString('utf8');
  throw new RequestError('BadRequest', `${path} is not UTF-8`, { hint: 'TOML has to be: mend what is in another encoding' });
}

function readBytes(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new RequestError('Failed', `${path} cannot be read (${code})`, { cause: error });
  }
}

/** Whether a directory is what podman takes for a store: it stops at one that is not there. */
export function isStore(store: string): boolean {
  try {
    accessSync(join(store, 'overlay'), constants.R_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The user's own layers were made without a mount_program: podman would not mount them with one. */
export function hasLayersOfKernelOverlay(storageConfText: string): boolean {
  const overlay = join(ownStorage(parseTomlFile('storage.conf', storageConfText).values), 'overlay');
  try {
    const layers = readdirSync(overlay).filter((name) => /^[0-9a-f]{64}$/.test(name));
    // github.com/containers/storage, drivers/overlay: what it found when it made the directory.
    return layers.length > 0 && readIfThere(join(overlay, '.has-mount-program'))?.trim() !== 'true';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Whether podman has begun to keep images and containers of the user. Where it has not, to ask it anything would make it choose a storage driver for good. */
export function wasUsed(): boolean {
  const storage = ownStorage(readStorageConf());
  // podman 4, podman 5
  return ['libpod', 'db.sql'].some((name) => existsSync(join(storage, name)));
}

/** Whether podman chooses no storage driver if it is asked now: it has begun with one, or it is told. */
export function hasDriver(): boolean {
  return wasUsed() || (valueAt(readStorageConf(), ['storage', 'driver']) ?? '') !== '';
}

function readStorageConf(): Values {
  return parseTomlFile(storageConf(), readIfThere(storageConf()) ?? '').values;
}

function ownStorage(values: Values): string {
  const configured = valueAt(values, ['storage', 'graphroot']) ?? valueAt(values, ['storage', 'rootless_storage_path']);
  if (typeof configured === 'string' && configured !== '' && !configured.includes('$')) return configured;
  return join(dataDirectory(), 'containers/storage');
}

/** cfs-overlay stands beside cfsctl; undefined if it is not there. */
export function findMountProgram(cfsctl: string | undefined = process.argv[1]): string | undefined {
  const path = join(dirname(cfsctl ?? ''), 'cfs-overlay');
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}
