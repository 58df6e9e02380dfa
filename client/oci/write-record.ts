// A record comes into being file by file, image.json last: without that one it is none.
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openBeneath, writeAllAt } from '../../core/kernel/file.js';
import { changeMode, fsync } from '../../core/kernel/durable.js';
import { makeDirectory, syncDirectory } from '../repository/repository.js';
import { type Drafts, openDrafts } from '../store/drafts.js';
import { type OciRecord, readRecord } from './records.js';
import { sha256Of } from './source/blobs.js';

/** Writes what a record lacks, or has otherwise, and returns it when all is on the disk. The image must be in images/. Throws SyscallError. */
export function writeRecord(root: Fd, given: Omit<OciRecord, 'id' | 'imported'>): OciRecord {
  const id = sha256Of(given.config).slice('sha256:'.length);
  makeDirectory(root, 'oci');
  makeDirectory(root, `oci/${id}`);
  using directory = openBeneath(root, `oci/${id}`, O_RDONLY | O_DIRECTORY);
  const known = readIfSound(root, id);
  const isSame = known !== undefined && known.manifest.equals(given.manifest) && known.image === given.image;
  // Whoever wrote it may not have waited for the disk.
  if (isSame) return syncAll(known, directory, root);
  const record: OciRecord = { ...given, id, imported: new Date().toISOString() };
  const { image, layers, platform, imported } = record;
  using parent = openBeneath(root, 'oci', O_RDONLY | O_DIRECTORY);
  using drafts = openDrafts(parent);
  putFile(drafts, directory, 'config.json', given.config);
  putFile(drafts, directory, 'manifest.json', given.manifest);
  fsync(directory);
  const facts = `${JSON.stringify({ version: 1, image, layers, platform, imported }, undefined, 2)}\n`;
  putFile(drafts, directory, 'image.json', Buffer.from(facts));
  return syncAll(record, directory, root);
}

function readIfSound(root: Fd, id: string): OciRecord | undefined {
  try {
    return readRecord(root, id);
  } catch {
    return undefined; // it is made anew
  }
}

function syncAll(record: OciRecord, directory: Fd, root: Fd): OciRecord {
  fsync(directory);
  syncDirectory(root, 'oci');
  return record;
}

function putFile(drafts: Drafts, directory: Fd, name: string, bytes: Uint8Array): void {
  using draft = drafts.make();
  writeAllAt(draft.file, bytes, 0);
  changeMode(draft.file, 0o644);
  fsync(draft.file);
  draft.publish(directory, name, true);
}
