// What the accounts of live mounts need beyond the life of this process: the watches, which the kernel keeps as long as somebody holds their
// inotify descriptor, and the table that says whose each is. The service manager holds both and hands them to the next process (FDSTORE=1).
import type { OwnedFd } from '../core/kernel/fd.js';
import { createMemfd } from '../core/kernel/file.js';
import { createInotify } from '../core/kernel/inotify.js';
import { openMountTable, type MountTable } from './mount-table.js';
import type { Inherited } from '../core/kernel/inherited.js';
import { notify } from './notify.js';

const INOTIFY = 'mounts-inotify';
const TABLE = 'mounts-table';

export interface Ledger {
  readonly inotify: OwnedFd;
  readonly table: MountTable;
  /** Kept when the service ends by itself, not only when it is restarted (FileDescriptorStorePreserve=, systemd 254, which also says FDSTORE). */
  readonly outlivesExit: boolean;
  close(): void;
}

export const isOfLedger = ({ name }: Inherited): boolean => name === INOTIFY || name === TABLE;

function ledgerOf(inotify: OwnedFd, file: OwnedFd): Ledger {
  const table = openMountTable(file);
  return {
    inotify,
    table,
    outlivesExit: Number(process.env['FDSTORE'] ?? 0) >= 2,
    close() {
      file.close();
      inotify.close();
    },
  };
}

/** Without a service manager nobody keeps it. */
function makeLedger(): Ledger {
  const [inotify, file] = [createInotify(), createMemfd('cfsmountd-mounts')];
  notify(`FDSTORE=1\nFDNAME=${INOTIFY}\nFDPOLL=0`, [inotify]);
  notify(`FDSTORE=1\nFDNAME=${TABLE}\nFDPOLL=0`, [file]);
  return ledgerOf(inotify, file);
}

/** Takes over what an earlier process left, and closes what cannot be used; `onLost` is told if there was something and it cannot. */
export function openLedger(inherited: readonly Inherited[], onLost: (reason: string) => void): Ledger {
  const inotify = inherited.find(({ name }) => name === INOTIFY)?.fd;
  const table = inherited.find(({ name }) => name === TABLE)?.fd;
  if (inotify && table) {
    try {
      return ledgerOf(inotify, table);
    } catch (error) {
      onLost(error instanceof Error ? error.message : String(error));
    }
  } else if (inotify || table) onLost('only one half of it was kept');
  for (const { fd } of inherited) fd.close();
  for (const { name } of inherited) notify(`FDSTOREREMOVE=1\nFDNAME=${name}`);
  return makeLedger();
}
