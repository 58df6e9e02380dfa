// What podman must be told in storage.conf (containers-storage.conf(5)), as changes of what the user has there.
import { isDeepStrictEqual } from 'node:util';
import { RequestError } from '../../core/wire/errors.js';
import { addElement, addEntry, quoteToml, removeElement, removeEntry, removeMarkedElement } from './toml-edit.js';
import {
  type Path,
  type TomlFile,
  type Values,
  findEntry,
  isElementMarked,
  isMarked,
  parseTomlFile,
  valueAt,
  withoutMarks,
} from './toml-file.js';

const DRIVER: Path = ['storage', 'driver'];
const STORES: Path = ['storage', 'options', 'additionalimagestores'];
const MOUNT_PROGRAM: Path = ['storage', 'options', 'overlay', 'mount_program'];
/** Where it stood before; it is still read. */
const OLD_MOUNT_PROGRAM: Path = ['storage', 'options', 'mount_program'];

export interface StorageWish {
  /** The additional image store. */
  readonly store: string;
  /** Path of cfs-overlay, if podman shall mount with it. */
  readonly mountProgram: string | undefined;
}

/** The text with what podman needs. Throws `RequestError` BadRequest where the user has said something else, or in a way that cannot be edited. */
export function addToStorageConf(name: string, text: string, wish: StorageWish): string {
  const before = parseTomlFile(name, text);
  requireNothingElse(name, before.values, wish);
  let file = before;
  const change = (edited: string): void => void (file = parseAgain(name, edited));
  if (valueAt(file.values, DRIVER) === undefined) change(addEntry(file, DRIVER, '"overlay"'));
  change(addStore(name, file, wish.store));
  if (wish.mountProgram !== undefined && valueAt(file.values, MOUNT_PROGRAM) === undefined)
    change(addEntry(file, MOUNT_PROGRAM, quoteToml(wish.mountProgram)));
  requireEffect(name, file.values, withWish(before.values, wish));
  return file.text;
}

/** The text without what `addToStorageConf` has put in, which is what is marked. The store is for a line of ours where somebody has named others since. */
export function removeFromStorageConf(name: string, text: string, store: string): string {
  let file = parseTomlFile(name, text);
  const change = (edited: string): void => void (file = parseAgain(name, edited));
  change(removeEntry(file, MOUNT_PROGRAM));
  change(removeStores(file, store));
  // What stands alone in our table goes with it, so the driver comes last.
  change(removeEntry(file, DRIVER));
  return withoutMarks(file);
}

function requireNothingElse(name: string, values: Values, { mountProgram }: StorageWish): void {
  const driver = valueAt(values, DRIVER);
  if (driver === '')
    throw new RequestError('BadRequest', `${name} has an empty storage driver`, {
      hint: 'take the line out, or write driver = "overlay"',
    });
  if (driver !== undefined && driver !== 'overlay')
    throw new RequestError('BadRequest', `${name} has another storage driver than overlay`, {
      hint: 'podman system reset removes what was made with it; then write driver = "overlay"',
    });
  const program = valueAt(values, MOUNT_PROGRAM) ?? valueAt(values, OLD_MOUNT_PROGRAM);
  if (mountProgram !== undefined && program !== undefined && program !== mountProgram)
    throw new RequestError('BadRequest', `${name} has a mount_program already`, {
      hint: 'take the line out: cfs-overlay runs fuse-overlayfs itself',
    });
}

function addStore(name: string, file: TomlFile, store: string): string {
  const stores = valueAt(file.values, STORES);
  if (stores === undefined) return addEntry(file, STORES, `[${quoteToml(store)}]`);
  if (Array.isArray(stores) && stores.includes(store)) return file.text;
  const value = findEntry(file, STORES)?.value;
  if (value?.type === 'TOMLArray') return addElement(file, value, store);
  throw cannotEdit(name);
}

function removeStores(file: TomlFile, store: string): string {
  const entry = findEntry(file, STORES);
  if (entry?.value.type !== 'TOMLArray') return file.text;
  const { elements } = entry.value;
  const marked = elements.findIndex((element) => isElementMarked(file.text, element));
  if (marked >= 0) return removeStores(parseTomlFile('', removeMarkedElement(file, entry.value, marked)), store);
  if (!isMarked(file.text, entry.range[1])) return file.text;
  if (elements.length <= 1) return removeEntry(file, STORES);
  const named = elements.findIndex((element) => element.type === 'TOMLValue' && element.value === store);
  return named < 0 ? file.text : removeElement(file, entry.value, named);
}

/** The additional image stores that a storage.conf names. */
export function storesOf(name: string, text: string): readonly string[] {
  const stores = valueAt(parseTomlFile(name, text).values, STORES);
  return Array.isArray(stores) ? stores.map(String) : [];
}

/** An edit that breaks the file, or does anything but what is wished, is never written. */
function requireEffect(name: string, actual: Values, wished: Values): void {
  if (!isDeepStrictEqual(actual, wished)) throw cannotEdit(name);
}

function parseAgain(name: string, text: string): TomlFile {
  try {
    return parseTomlFile(name, text);
  } catch (cause) {
    if (cause instanceof RequestError) throw cannotEdit(name, cause);
    throw cause;
  }
}

function cannotEdit(name: string, cause?: unknown): RequestError {
  return new RequestError('BadRequest', `${name} is written in a way that cannot be edited here`, {
    hint: 'add the store to additionalimagestores below [storage.options] yourself, and driver = "overlay" below [storage]',
    cause,
  });
}

function withWish(values: Values, { store, mountProgram }: StorageWish): Values {
  const copy = structuredClone(values) as Record<string, any>; // oxlint-disable-line typescript/no-explicit-any
  const storage = (copy['storage'] ??= {});
  storage.driver ??= 'overlay';
  const options = (storage.options ??= {});
  const stores: unknown[] = (options.additionalimagestores ??= []);
  if (!stores.includes(store)) stores.push(store);
  if (mountProgram !== undefined) (options.overlay ??= {}).mount_program ??= mountProgram;
  return copy;
}
