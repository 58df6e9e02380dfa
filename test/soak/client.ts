// One client of the soak: mounts, attaches, reads and releases until it is told to die. What it is doing it says on standard output, one
// byte for each step, written at once, so that whoever kills it knows where.
import { mkdtempSync, readFileSync, rmdirSync, writeSync } from 'node:fs';

import { attach } from '../../client/attach.js';
import { connect, type MountClient, type ReceivedMount } from '../../client/mount-client.js';
import { isErrno } from '../../core/kernel/error.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { umount2 } from '../../core/kernel/mount.js';
import type { ClientTask, Step } from './steps.js';

const task = JSON.parse(process.argv[2]!) as ClientTask;
const directory = mkdtempSync('/tmp/cfsmountd-mnt-');
let connection: MountClient | undefined;

const say = (step: Step): void => void writeSync(1, step);

function mountOnce(service: MountClient, round: number): ReceivedMount {
  const kind = (round + task.seed) % 4;
  if (kind < 2) return service.mountImage(kind === 0 ? task.composefs : task.erofs);
  const file = openPath(task.file, O_RDONLY);
  try {
    // With the digest the service takes its copy; without it, it copies and hashes anew.
    return service.mountFile(file, [], kind === 2 ? { digest: task.erofs } : {});
  } finally {
    file.close();
  }
}

/** The service may be about to close its own descriptor of the mount, which keeps it busy until then. */
function unmount(): void {
  for (;;) {
    try {
      return umount2(directory, 0);
    } catch (error) {
      if (!isErrno(error, 'EBUSY')) throw error;
      say('e');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function cycle(round: number): void {
  if (connection && round % 5 === 0) {
    connection.close();
    connection = undefined;
  }
  say('c');
  connection ??= connect({ address: task.address });
  say('m');
  const { mount } = mountOnce(connection, round);
  say('r');
  attach(mount, directory);
  mount.close();
  say('a');
  if (readFileSync(`${directory}/${task.probe}`, 'utf8').length === 0) throw new Error('an empty file');
  unmount();
  say('u');
}

// Fatal is the last of the rounds: the killer is told and strikes at a time of its own choosing.
for (let round = 0; round <= task.rounds; round++) {
  if (round === task.rounds && task.fatal) say('k');
  cycle(round);
}
if (task.fatal) setInterval(() => {}, 1000); // it comes, if late
else rmdirSync(directory);
