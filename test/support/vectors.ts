import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { VersionRange } from '../../core/image/version.js';
import { SHARED } from './machine.js';

const folder = join(SHARED, 'vectors');
export const sampleFolder = join(SHARED, 'sample');

/** False if the reference files are there, else the reason for skipping. */
export const noVectors = existsSync(join(folder, 'expected.tsv'))
  ? false
  : `NOT CHECKED against reference images: ${folder} is missing; set CFS_SHARED to the folder that holds vectors/ and sample/`;

export interface Vector {
  readonly name: string;
  readonly dump: Uint8Array;
  readonly range: VersionRange;
  /** Hex. */
  readonly sha256: string;
  readonly fsverity: string;
  readonly size: number;
  readonly version: 0 | 1;
}

/** Dumps whose image is known. */
export function goodVectors(): readonly Vector[] {
  if (noVectors !== false) return [];
  const [, ...lines] = readFileSync(join(folder, 'expected.tsv'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const [name = '', args = '', sha256 = '', fsverity = '', size, version] = line.split('\t');
    return {
      name,
      dump: readVector(name),
      range: rangeOf(args),
      sha256,
      fsverity,
      size: Number(size),
      version: version === '1' ? 1 : 0,
    };
  });
}

/** Dumps that must be refused. */
export function badVectors(): readonly (readonly [name: string, dump: Uint8Array])[] {
  if (noVectors !== false) return [];
  const names = readdirSync(folder).filter((name) => /^should-fail-.*\.dump(\.gz)?$/.test(name));
  return names.map((name) => [name, readVector(name)]);
}

function readVector(name: string): Uint8Array {
  const bytes = readFileSync(join(folder, name));
  return new Uint8Array(name.endsWith('.gz') ? gunzipSync(bytes) : bytes);
}

function rangeOf(args: string): VersionRange {
  const [, min] = /--min-version=(\d+)/.exec(args) ?? [];
  const [, max] = /--max-version=(\d+)/.exec(args) ?? [];
  return { min: min === undefined ? undefined : Number(min), max: max === undefined ? undefined : Number(max) };
}
