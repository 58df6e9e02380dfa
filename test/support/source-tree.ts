// A directory tree with something of everything that rules judge, and what a walk over it finds: the second opinion on what readers of images say.
import { chmodSync, chownSync, linkSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { ContentFacts } from '../../core/image/content-facts.js';
import { bind } from '../../core/kernel/libc.js';
import { run } from './machine.js';

const lsetxattr = bind('lsetxattr', ['path', 'path', 'buffer', 'u64', 'int']);
const llistxattr = bind('llistxattr', ['path', 'buffer', 'u64'], 'long');

/** struct vfs_cap_data of linux/capability.h, version 2: cap_net_bind_service, permitted and effective. */
const CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex');

/** mkfs.erofs 1.5 fails with a name of 255 bytes. */
const LONG_NAME = 'n'.repeat(254);

export function setXattr(path: string, name: string, value: Buffer): void {
  lsetxattr(path, name, value, value.length, 0);
}

export function setCapability(path: string): void {
  setXattr(path, 'security.capability', CAPABILITY);
}

/** Makes the tree, with so many files in one directory; as root with device nodes, owners and file capabilities too. */
export function makeSourceTree(root: string, many = 600): void {
  for (const directory of ['', 'bin', 'deep', 'many', 'empty']) mkdirSync(join(root, directory));
  mkdirSync(join(root, 'deep', ...Array.from({ length: 40 }, () => 'd')), { recursive: true });
  for (const [name, mode] of [
    ['suid', 0o4755],
    ['sgid', 0o2755],
    ['both', 0o6755],
    ['none', 0o755],
  ] as const) {
    writeFileSync(join(root, 'bin', name), `#!/bin/sh\n# ${name}\n`.repeat(200));
    chmodSync(join(root, 'bin', name), mode);
  }
  linkSync(join(root, 'bin/suid'), join(root, 'bin/suid-again'));
  linkSync(join(root, 'bin/suid'), join(root, 'deep/suid-elsewhere'));
  for (let index = 0; index < many; index += 1)
    writeFileSync(join(root, 'many', `a-file-with-a-name-${index}`), 'x'.repeat(index * 7));
  writeFileSync(join(root, 'compressible'), 'some text that compresses well\n'.repeat(9000));
  writeFileSync(join(root, 'blocks'), Buffer.alloc(3 * 4096, 'b'));
  writeFileSync(join(root, 'nothing'), '');
  writeFileSync(join(root, LONG_NAME), 'long name');
  symlinkSync('t'.repeat(3000), join(root, 'long-link'));
  symlinkSync('blocks', join(root, 'link'));
  run('mkfifo', join(root, 'fifo'));
  for (const name of ['none', 'suid']) setXattr(join(root, 'bin', name), 'user.shared', Buffer.from('the same value in both'));
  setXattr(join(root, 'blocks'), 'user.large', Buffer.alloc(2000, 'v'));
  if (process.getuid?.() === 0) addPrivileged(root);
}

function addPrivileged(root: string): void {
  run('mknod', join(root, 'bin/block'), 'b', '8', '1');
  run('mknod', join(root, 'character'), 'c', '1', '3');
  run('mknod', join(root, 'whiteout'), 'c', '0', '0');
  linkSync(join(root, 'bin/block'), join(root, 'deep/block-again'));
  for (const [index, name] of ['bin/none', 'many/a-file-with-a-name-1', 'many/a-file-with-a-name-2', 'compressible'].entries()) {
    setCapability(join(root, name));
    if (index > 1) setXattr(join(root, name), 'trusted.other', Buffer.from('o'));
  }
  setCapability(join(root, LONG_NAME));
  chownSync(join(root, 'nothing'), 70_000, 5);
  chownSync(join(root, 'empty'), 6, 4_294_967_294);
}

/** What is below a directory, by the kernel's word. */
export function factsOfTree(root: string): ContentFacts {
  const facts = { entries: 0, devices: 0, setUid: 0, setGid: 0, fileCapabilities: 0, largestUid: 0, largestGid: 0 };
  const seen = new Set<bigint>();
  const visit = (path: string): void => {
    const status = lstatSync(path, { bigint: true });
    facts.entries += 1;
    if (!seen.has(status.ino)) {
      seen.add(status.ino);
      const mode = Number(status.mode);
      if ((status.isBlockDevice() || status.isCharacterDevice()) && status.rdev !== 0n) facts.devices += 1;
      if (status.isFile() && (mode & 0o4000) !== 0) facts.setUid += 1;
      if (status.isFile() && (mode & 0o2000) !== 0) facts.setGid += 1;
      if (status.isFile() && xattrNames(path).includes('security.capability')) facts.fileCapabilities += 1;
      facts.largestUid = Math.max(facts.largestUid, Number(status.uid));
      facts.largestGid = Math.max(facts.largestGid, Number(status.gid));
    }
    if (status.isDirectory()) for (const name of readdirSync(path)) visit(join(path, name));
  };
  visit(root);
  return facts;
}

function xattrNames(path: string): string[] {
  const list = Buffer.alloc(65_536);
  return list.toString('latin1', 0, llistxattr(path, list, list.length)).split('\0');
}
