// A tree with the shape of a real one. Only names and attributes are read in the benchmark, so the files are cut short.
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const MODEL = '/usr/share';
const ENTRIES = 20_000;
const MAX_BYTES = 2048;

function copyEntry(source: string, target: string): boolean {
  const status = lstatSync(source);
  if (status.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
  else if (status.isFile()) writeFileSync(target, status.size < 1 << 20 ? readFileSync(source).subarray(0, MAX_BYTES) : '');
  else return false;
  return true;
}

/** Copies breadth first up to a number of entries; returns how many there are. */
function mirror(source: string, target: string, limit: number): number {
  const directories: [string, string][] = [[source, target]];
  mkdirSync(target, { recursive: true });
  let count = 1;
  for (const [from, to] of directories) {
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      if (count >= limit) return count;
      const path = join(to, entry.name);
      if (entry.isDirectory()) {
        mkdirSync(path);
        directories.push([join(from, entry.name), path]);
        count++;
      } else if (copyEntry(join(from, entry.name), path)) count++;
    }
  }
  return count;
}

/** Makes the tree from what this machine has in /usr/share, several times over where that is little. Returns the number of entries. */
export function makeTree(target: string): number {
  let count = 0;
  for (let copy = 1; count < ENTRIES; copy++) count += mirror(MODEL, join(target, `copy-${copy}`), ENTRIES - count + 1);
  return count;
}
