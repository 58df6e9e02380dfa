// The volumes there are: one small file each, which outlives the plugin and the machine.
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { removeFile, writeWholeFile } from '../whole-file.js';
import { type Volume, volumeFile } from './options.js';

const ENDING = '.json';
/** Of one user. */
const MAX_VOLUMES = 4096;

/** Names of volumes, in order. */
export function listVolumes(directory: string): string[] {
  try {
    const names = readdirSync(directory).filter((name) => name.endsWith(ENDING) && !name.startsWith('.'));
    return names.map((name) => name.slice(0, -ENDING.length)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Undefined if there is no such volume. The name has the form of one. Throws `RequestError` if its file is broken. */
export function findVolume(directory: string, name: string): Volume | undefined {
  const path = join(directory, name + ENDING);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return parseFile(path, text);
}

function parseFile(path: string, text: string): Volume {
  try {
    const { version: _version, ...volume } = volumeFile.parse(JSON.parse(text));
    return volume;
  } catch (cause) {
    throw new RequestError('Failed', `the file of the volume is broken: ${path}`, {
      hint: 'remove the volume and create it again',
      cause,
    });
  }
}

export function writeVolume(directory: string, name: string, volume: Volume): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (listVolumes(directory).length >= MAX_VOLUMES) throw new RequestError('QuotaExceeded', `there are ${MAX_VOLUMES} volumes`);
  writeWholeFile(join(directory, name + ENDING), `${JSON.stringify({ version: 1, ...volume })}\n`, 0o600);
}

export function removeVolume(directory: string, name: string): void {
  removeFile(join(directory, name + ENDING));
}
