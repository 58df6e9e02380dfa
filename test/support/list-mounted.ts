// Prints what a mounted tree looks like, one JSON line per name below the folder given: a program of its own because it runs in another mount namespace.
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** Numbers in decimal, bytes as latin1. */
export interface Listed {
  readonly path: string;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: string;
  readonly mtimeNs: string;
  /** Target of a symbolic link, or the bytes of a file of at most 5000. */
  readonly data: string;
}

function list(folder: Buffer, prefix: string): void {
  for (const name of readdirSync(folder, { encoding: 'buffer' })) {
    const place = Buffer.concat([folder, Buffer.from('/'), name]);
    const path = `${prefix}/${name.toString('latin1')}`;
    const found = lstatSync(place, { bigint: true });
    const { mode, nlink, uid, gid, rdev } = lstatSync(place);
    const small = found.isFile() && found.size <= 5000n;
    const data = found.isSymbolicLink()
      ? readlinkSync(place, { encoding: 'buffer' })
      : small
        ? readFileSync(place)
        : Buffer.alloc(0);
    const entry: Listed = {
      path,
      mode,
      nlink,
      uid,
      gid,
      rdev,
      size: String(found.size),
      mtimeNs: String(found.mtimeNs),
      data: data.toString('latin1'),
    };
    process.stdout.write(`${JSON.stringify(entry)}\n`);
    if (found.isDirectory()) list(place, path);
  }
}

list(Buffer.from(process.argv[2] ?? '.'), '');
