// Root's side of reading a tree: the same image mounted directly, and what else can show the tree.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';

import { O_DIRECTORY, O_PATH, O_RDONLY, openPath } from '../core/kernel/file.js';
import { MNT_DETACH, moveMount, umount2 } from '../core/kernel/mount.js';
import { ALWAYS, mountErofs } from '../daemon/build-mount.js';
import { mountOverlay } from '../daemon/overlay.js';
import { readImageHeader } from '../daemon/measure.js';
import { serveAgent } from './agent.js';
import { end, tie, until } from './setting.js';
import { listFiles, lstatFiles, timeLs } from './tree-operations.js';

interface Direct {
  readonly file: string;
  readonly objects: string;
  readonly digest: string;
  readonly directory: string;
}

/** What root gets without a service: no idmap, no lock. */
function mountDirectly({ file, objects, digest, directory }: Direct): void {
  using image = openPath(file, O_RDONLY);
  const header = readImageHeader(image);
  using erofs = mountErofs(image, header, ALWAYS);
  if (header.type === 'erofs') return moveMount(erofs, null, directory);
  using stores = openPath(objects, O_PATH | O_DIRECTORY);
  using overlay = mountOverlay({ erofs, objects: [stores], name: digest, requireVerity: false }, ALWAYS);
  moveMount(overlay, null, directory);
}

const servers = new Map<string, ChildProcess>();

/** Starts a FUSE server in the foreground and waits until its mount is there. */
async function mountFuse({ command, directory }: { command: readonly string[]; directory: string }): Promise<void> {
  const before = statSync(directory).dev;
  const [program, ...args] = command;
  const server = tie(spawn(program!, args, { stdio: 'ignore' }));
  servers.set(directory, server);
  await until(`${program} serves`, () => statSync(directory).dev !== before || undefined);
}

async function unmount(directory: string): Promise<void> {
  const server = servers.get(directory);
  umount2(directory, server ? MNT_DETACH : 0);
  servers.delete(directory);
  if (!server) return;
  if (server.exitCode === null && server.signalCode === null) await Promise.race([once(server, 'exit'), end(server)]);
}

/** Page cache, dentries and inodes that nobody uses. */
function dropCaches(): void {
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

const operations = { mountDirectly, mountFuse, unmount, dropCaches, timeLs, lstatFiles, listFiles };
export type TreeOperations = typeof operations;

serveAgent(operations);
