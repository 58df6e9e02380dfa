// The ways to see a tree that are compared.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { Agent } from './agent.js';
import type { CallerOperations } from './caller-agent.js';
import { type Image, run } from './setting.js';
import type { TreeOperations } from './tree-agent.js';

export type Root = Agent<TreeOperations>;
export type Caller = Agent<CallerOperations>;
type Reader = Pick<Agent<Pick<TreeOperations, 'timeLs' | 'lstatFiles' | 'listFiles'>>, 'ask'>;

export interface View {
  readonly name: string;
  readonly directory: string;
  /** Reads from within: a handed-out mount is seen in its user's namespace alone. */
  readonly reader: Reader;
  mount(): Promise<void>;
  unmount(): Promise<void>;
}

function mountPoint(scratch: string, name: string): string {
  const directory = join(scratch, 'mnt', name.replaceAll(/\W+/g, '-'));
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** What the service gives a user, attached in the user's namespaces. */
export function handedOut(scratch: string, caller: Caller, image: Image): View {
  const name = `${image.type}, handed out`;
  const directory = mountPoint(scratch, name);
  const mount = (): Promise<void> => caller.ask('attachImage', { image: image.name, directory });
  return { name, directory, reader: caller, mount, unmount: () => caller.ask('detach', directory) };
}

/** What root has without the service. */
export function mountedByRoot(scratch: string, root: Root, objects: string, { type, file, digest }: Image): View {
  const name = `${type}, mounted by root`;
  const directory = mountPoint(scratch, name);
  const mount = (): Promise<void> => root.ask('mountDirectly', { file, objects, digest, directory });
  return { name, directory, reader: root, mount, unmount: () => root.ask('unmount', directory) };
}

function fuse(scratch: string, root: Root, name: string, command: (directory: string) => string[]): View {
  const directory = mountPoint(scratch, name);
  const mount = (): Promise<void> => root.ask('mountFuse', { command: command(directory), directory });
  return { name, directory, reader: root, mount, unmount: () => root.ask('unmount', directory) };
}

/** The FUSE servers that this machine can run, and why the others are missing. */
export function fuseViews(scratch: string, root: Root, tree: string): { views: View[]; notes: string[] } {
  if (!existsSync('/dev/fuse')) return { views: [], notes: ['no /dev/fuse here: nothing to compare with FUSE'] };
  const has = (program: string): boolean => spawnSync(program, ['-version']).error === undefined;
  const views: View[] = [];
  const notes: string[] = [];
  if (has('fuse-overlayfs')) {
    views.push(
      fuse(scratch, root, 'fuse-overlayfs', (directory) => ['fuse-overlayfs', '-f', '-o', `lowerdir=${tree}`, directory]),
    );
  } else notes.push('fuse-overlayfs is not installed');
  if (has('squashfuse') && has('mksquashfs')) {
    const image = join(scratch, 'tree.sqfs');
    run('mksquashfs', tree, image, '-quiet', '-no-progress');
    views.push(fuse(scratch, root, 'squashfuse', (directory) => ['squashfuse', '-f', image, directory]));
  } else notes.push('squashfuse or squashfs-tools is not installed');
  return { views, notes };
}
