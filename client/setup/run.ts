// cfsctl setup podman: says what podman has to be told, and tells it if asked to.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { askPodman, findProgram } from '../ask-podman.js';
import { formatJson, print, printPieces, UNPRINTABLE } from '../output.js';
import { runtimeDirectory } from '../xdg.js';
import { type Change, diffOf, isNeeded, makeChange } from './change.js';
import { findMountProgram, hasLayersOfKernelOverlay, isStore, pluginConf, readIfThere, storageConf, wasUsed } from './places.js';
import { composePluginConf, requireOurs } from './plugin-conf.js';
import { addToStorageConf, removeFromStorageConf } from './storage-conf.js';

export interface SetupOptions {
  readonly store: string;
  readonly mountProgram: boolean;
  readonly write: boolean;
  readonly undo: boolean;
  readonly json: boolean;
}

export function runSetupPodman(options: SetupOptions): void {
  requireOrdinaryUser();
  const changes = (options.undo ? undoing(options) : doing(options)).filter(isNeeded);
  const notes = options.undo ? [] : [...findNotes(options), ...nextSteps(options)];
  const missing = !options.undo && !isStore(options.store);
  if (options.write && missing) throw noStore(options.store);
  if (!options.undo) requireOverlay();
  const backups = options.write ? makeChanges(changes, options.undo) : [];
  const files = changes.map((change, index) => ({ path: change.path, diff: diffOf(change), backup: backups[index] }));
  if (options.json)
    return print(
      formatJson({ written: options.write, files: files.map(({ backup = null, ...file }) => ({ ...file, backup })), notes }),
    );
  printPieces([
    ...files.map(({ diff }) => escapeLines(diff)),
    ...files.flatMap(({ backup }) => (backup === undefined ? [] : [`what was there: ${escapeLines(backup)}\n`])),
    summary(options, files.length),
    ...notes.map((note) => `${escapeLines(note)}\n`),
  ]);
}

/** podman keeps the storage driver it has begun with, whatever storage.conf says, and would not start. */
function requireOverlay(): void {
  const asked = wasUsed() ? askPodman('info', '--format', '{{.Store.GraphDriverName}}') : { because: 'never used' };
  const driver = 'stdout' in asked ? asked.stdout.trim() : 'overlay';
  if (driver === 'overlay') return;
  throw new RequestError(
    'BadRequest',
    `podman keeps what is yours with the storage driver ${driver}, and here overlay is needed`,
    {
      hint: 'podman system reset removes your images and containers; run this before you use podman again',
    },
  );
}

/** All, and what podman then says is heard: if it does not start, all is as it was. Returns the copies that were made. */
function makeChanges(changes: readonly Change[], undo: boolean): (string | undefined)[] {
  const backups = changes.map(makeChange);
  const asked = undo || changes.length === 0 || findProgram('podman') === undefined ? undefined : askPodman('info');
  if (asked === undefined || 'stdout' in asked) return backups;
  for (const { path, before, after } of changes) makeChange({ path, before: after, after: before, own: true });
  throw new RequestError('Failed', `podman does not start with these changes, and they were taken back: ${asked.because}`, {
    hint: 'see what podman info says before; cfsctl doctor may know more',
  });
}

function requireOrdinaryUser(): void {
  if (process.getuid?.() !== 0) return;
  throw new RequestError('BadRequest', 'this is for the podman of an ordinary user, and you are root', {
    hint: 'run it as that user, not below sudo or podman unshare',
  });
}

function doing({ store, mountProgram }: SetupOptions): Change[] {
  const [storage, plugin] = [storageConf(), pluginConf()];
  const [storageText, pluginText] = [readIfThere(storage), readIfThere(plugin)];
  requireOurs(plugin, pluginText);
  const program = mountProgram ? requireMountProgram(storageText ?? '') : undefined;
  const after = addToStorageConf(storage, storageText ?? '', { store, mountProgram: program });
  return [
    { path: storage, before: storageText, after },
    { path: plugin, before: pluginText, after: composePluginConf(join(runtimeDirectory(), 'cfsctl/volume.sock')), own: true },
  ];
}

function undoing({ store }: SetupOptions): Change[] {
  const [storage, plugin] = [storageConf(), pluginConf()];
  const [storageText, pluginText] = [readIfThere(storage), readIfThere(plugin)];
  requireOurs(plugin, pluginText);
  const rest = storageText === undefined ? undefined : removeFromStorageConf(storage, storageText, store);
  // An empty storage.conf is an error to podman.
  const after = rest?.trim() === '' ? undefined : rest;
  return [
    { path: storage, before: storageText, after },
    { path: plugin, before: pluginText, after: undefined, own: true },
  ];
}

function requireMountProgram(storageText: string): string {
  const program = findMountProgram();
  if (program === undefined) throw new RequestError('Failed', 'cfs-overlay is not beside cfsctl', { hint: 'install it, too' });
  if (hasLayersOfKernelOverlay(storageText))
    throw new RequestError('BadRequest', 'podman has images or containers of yours that were made without a mount_program', {
      hint: 'podman system reset removes them all; or leave --mount-program out, and run podman unshare cfsctl attach --all',
    });
  return program;
}

function noStore(store: string): RequestError {
  return new RequestError('Failed', `there is no store ${store}, and podman does not start when one is missing`, {
    hint: 'sudo cfsctl podman export-store',
  });
}

/** What the user should know before. */
function findNotes({ store }: SetupOptions): string[] {
  const notes: string[] = [];
  if (!isStore(store)) notes.push(`There is no store ${store} yet: sudo cfsctl podman export-store`);
  const system = ['/etc/containers/storage.conf', '/usr/share/containers/storage.conf'].find((path) => existsSync(path));
  if (system !== undefined && readIfThere(storageConf()) === undefined)
    notes.push(`podman reads your storage.conf in place of ${system}: look whether you need something of it.`);
  if (process.env['CONTAINERS_CONF'] !== undefined)
    notes.push('CONTAINERS_CONF is set: podman reads that file, and no drop-ins.');
  return notes;
}

function nextSteps({ write, mountProgram }: SetupOptions): string[] {
  if (!write) return [];
  return [
    ...(mountProgram ? [] : ['Next, after each login: podman unshare cfsctl attach --all']),
    'For volumes: systemctl --user enable --now cfsctl-volume-plugin.socket',
    'To see whether all is well: cfsctl doctor',
  ];
}

function summary({ write, undo }: SetupOptions, changed: number): string {
  if (changed === 0) return 'Nothing to change.\n';
  return write ? '' : `Nothing is written. To do that: cfsctl setup podman ${undo ? '--undo ' : ''}--write\n`;
}

/** Lines stay lines: what is not printable in them is shown as an escape. */
function escapeLines(text: string): string {
  return text.replace(UNPRINTABLE, (char) =>
    char === '\n' || char === '\t' ? char : `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
}
