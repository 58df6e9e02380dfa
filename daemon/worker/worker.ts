// A thread for what may take long or hang: hashing, a caller's file system, the caller's mount namespace. It lives in an
// empty mount namespace and works on descriptors alone. Only synchronous calls see that namespace.
import { parentPort } from 'node:worker_threads';

import { parseVerityDigest } from '../../core/image/digest.js';
import { SyscallError } from '../../core/kernel/error.js';
import { type Fd, OwnedFd } from '../../core/kernel/fd.js';
import { fileSystemMagic } from '../../core/kernel/stat.js';
import { measureVerity } from '../../core/kernel/verity.js';
import { copyAndHash } from './copy.js';
import type { Answer, HashJob, InspectJob, InspectResult, Job, JobFailure, LockJob } from './jobs.js';
import { clearStage, crossOver, leaveHostMounts, newStage, type Stage } from './stage.js';

const port = parentPort!;

const borrow = (raw: number): Fd => ({ raw });

function describeFailure(error: unknown): JobFailure {
  if (error instanceof SyscallError) return { message: error.message, syscall: error.syscall, errno: error.errno };
  return { message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

function answer(result: Answer): void {
  port.postMessage(result);
}

function hash(job: HashJob): void {
  using file = OwnedFd.adopt(job.file);
  using copy = job.copy === null ? null : OwnedFd.adopt(job.copy);
  answer({ ok: { digest: parseVerityDigest(copyAndHash(file, copy, job.size, job.algorithm)) } });
}

function inspect(job: InspectJob): void {
  using file = OwnedFd.adopt(job.file);
  const magic = fileSystemMagic(file);
  const verity = measureVerity(file);
  const result: InspectResult =
    verity.state === 'enabled'
      ? { magic, verity: 'enabled', algorithm: verity.algorithm, digest: Buffer.from(verity.digest).toString('hex') }
      : { magic, verity: verity.state };
  answer({ ok: result });
}

function makeStage(): void {
  const { staging, directory } = newStage();
  answer({ ok: { staging: staging.release(), directory: directory.release() } });
}

function lock(job: LockJob): void {
  using mount = OwnedFd.adopt(job.mount);
  const stage: Stage = {
    staging: borrow(job.staging),
    stagingDirectory: borrow(job.stagingDirectory),
    parked: borrow(job.parked),
    parkedDirectory: borrow(job.parkedDirectory),
  };
  try {
    answer({ ok: { mount: crossOver(mount, stage, job.name).release() } });
  } finally {
    // After the answer: the caller need not wait for it. Left behind, the mount would live as long as the stage.
    clearStage(stage, job.name);
  }
}

function perform(job: Job): void {
  switch (job.kind) {
    case 'hash':
      return hash(job);
    case 'inspect':
      return inspect(job);
    case 'new-stage':
      return makeStage();
    case 'lock':
      return lock(job);
  }
}

leaveHostMounts();
port.on('message', (job: Job) => {
  try {
    perform(job);
  } catch (error) {
    answer({ failure: describeFailure(error) });
  }
});
answer({ ready: true });
