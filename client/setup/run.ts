// cfsctl setup podman: says what podman has to be told, and tells it if asked to.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { askPodman } from '../ask-podman.js';
import { formatJson, print, printPieces, UNPRINTABLE } from '../output.js';
import { exportCommand } from '../podman/store-layout.js';
import { runtimeDirectory } from '../xdg.js';
import { type Change, diffOf, isNeeded, requireChangeable } from './change.js';
import { makeChanges, makeChangesForPodman } from './make-changes.js';
import { findMountProgram, hasLayersOfKernelOverlay, isStore, pluginConf, readIfThere, storageConf, wasUsed } from './places.js';
import { composePluginConf, requireOurs } from './plugin-conf.js';
import { addToStorageConf, removeFromStorageConf, storesOf } from './storage-conf.js';

export interface SetupOptions {
  /** An absolute path. */
  readonly store: string;
  readonly mountProgram: boolean;
  readonly write: boolean;
  readonly undo: boolean;
  readonly json: boolean;
}

export function runSetupPodman(options: SetupOptions): void {
  requireOrdinaryUser();
  const all = options.undo ? undoing(options) : doing(options);
  const changes = all.filter(isNeeded);
  changes.forEach(requireChangeable);
  const notes = options.undo ? all.flatMap(findStaying) : [...findNotes(options), ...nextSteps(options)];
  const missing = !options.undo && !isStore(options.store);
  if (options.write && missing) throw noStore(options.store);
  if (!options.undo) requireOverlay();
  const make = options.undo ? makeChanges : makeChangesForPodman;
  const made = options.write ? make(changes) : [];
  const files = changes.map((change, index) => ({ path: change.path, diff: diffOf(change), backup: made[index]?.backup }));
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
    hint: exportCommand(store),
  });
}

/** What the user should know before. */
function findNotes({ store }: SetupOptions): string[] {
  const notes: string[] = [];
  if (!isStore(store)) notes.push(`There is no store ${store} yet: ${exportCommand(store)}`);
  const system = ['/etc/containers/storage.conf', '/usr/share/containers/storage.conf'].find((path) => existsSync(path));
  if (system !== undefined && readIfThere(storageConf()) === undefined)
    notes.push(`podman reads your storage.conf in place of ${system}: look whether you need something of it.`);
  if (process.env['CONTAINERS_CONF'] !== undefined)
    notes.push('CONTAINERS_CONF is set: podman reads that file, and no drop-ins.');
  return notes;
}

/** Of what was taken out of, and names stores all the same. */
function findStaying({ path, after, own }: Change): string[] {
  const stores = after === undefined || own === true ? [] : storesOf(path, after);
  return stores.length === 0 ? [] : [`${path} still names ${stores.join(', ')}: what is not marked as of this command stays.`];
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
