// A dump with the shape of a system's: 12 entries to a directory, most of them files with an object, some with xattrs.
import { closeSync, openSync, writeSync } from 'node:fs';
import { createHash } from 'node:crypto';

const IN_DIRECTORY = 12;

function lineOf(path: string, index: number): string {
  const hex = createHash('sha256').update(path).digest('hex');
  const mtime = `${1_700_000_000 + (index % 1000)}.0`;
  const kind = index % 20;
  if (kind < 2) return `${path} 9 120777 1 0 0 0 ${mtime} ../target - -\n`;
  if (kind < 4) return `${path} 20 100644 1 0 0 0 ${mtime} - ${hex.slice(0, 20)} -\n`;
  const xattrs = kind < 8 ? ` user.origin=${hex.slice(0, 8)}` : '';
  return `${path} ${65 + index} 100644 1 0 0 0 ${mtime} ${hex.slice(0, 2)}/${hex.slice(2)} - ${hex}${xattrs}\n`;
}

/** Writes a dump of so many entries, the root among them. */
export function writeDump(file: string, entries: number): void {
  const fd = openSync(file, 'w');
  let lines = '/ 4096 40755 2 0 0 0 1700000000.0 - - -\n';
  let directory = '';
  for (let index = 1; index < entries; index++) {
    if (index % IN_DIRECTORY === 1) {
      directory = `${index % (IN_DIRECTORY * 40) === 1 ? '' : directory.split('/').slice(0, 4).join('/')}/directory-${index}`;
      lines += `${directory} 0 40755 2 0 0 0 1700000000.0 - - -\n`;
    } else lines += lineOf(`${directory}/name-of-entry-${index}`, index);
    if (lines.length > 1 << 20) lines = (writeSync(fd, lines), '');
  }
  writeSync(fd, lines);
  closeSync(fd);
}
