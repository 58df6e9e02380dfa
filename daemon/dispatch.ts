// One method call: is it one of ours, may this caller make it, what does it answer. Every decision leaves one audit line.
import type { FdList } from '../core/kernel/fd.js';
import { SyscallError } from '../core/kernel/error.js';
import type { Message } from '../core/wire/codec.js';
import { findMember, MOUNT_INTERFACE, signatureOf, type Member } from '../core/wire/contract.js';
import { errorName, errorText, RequestError, StandardError } from '../core/wire/errors.js';
import { INTERFACE, OBJECT_PATH } from '../core/wire/names.js';
import { audit } from './log.js';
import { checkFile, checkImage } from './methods/check.js';
import { listAllowedImages, listOwnMounts } from './methods/lists.js';
import { mountFile } from './methods/mount-file.js';
import { mountImage } from './methods/mount-image.js';
import type { Notes } from './methods/notes.js';
import { reload } from './methods/reload.js';
import type { Service } from './service.js';
import { answerStandard } from './standard-interfaces.js';
import type { Caller, CallHandler, ErrorReply, Reply } from './transport/peer.js';

type Method = (service: Service, caller: Caller, body: readonly unknown[], fds: FdList, notes: Notes) => Reply | Promise<Reply>;

interface Entry {
  readonly run: Method;
  /** Whether calling it is a decision about trust, which is audited. */
  readonly audited: boolean;
}

const METHODS: Readonly<Record<string, Entry>> = {
  MountImage: { run: mountImage, audited: true },
  MountFile: { run: mountFile, audited: true },
  CheckImage: { run: checkImage, audited: true },
  CheckFile: { run: checkFile, audited: true },
  ListImages: { run: listAllowedImages, audited: false },
  ListMounts: { run: listOwnMounts, audited: false },
  Reload: { run: reload, audited: true },
};

function requireCall({ header }: Message): { member: Member; entry: Entry } {
  if (header.path !== OBJECT_PATH) throw new StandardError('UnknownObject', `there is no such object; it is ${OBJECT_PATH}`);
  const member = findMember(MOUNT_INTERFACE, header.member);
  const entry = Object.hasOwn(METHODS, header.member) ? METHODS[header.member] : undefined;
  if (!member || !entry) throw new StandardError('UnknownMethod', `${INTERFACE} has no such method`);
  if (header.signature !== signatureOf(member.in)) {
    throw new StandardError('InvalidArgs', `${member.name} takes the signature "${signatureOf(member.in)}"`);
  }
  return { member, entry };
}

function requireRoot(member: Member, caller: Caller): void {
  if (!member.needsRoot || caller.uid === 0) return;
  throw new RequestError('NotAuthorized', `${member.name} is for root`, { hint: 'run it as root' });
}

/** What of an error may leave the daemon. Anything not meant for callers becomes a plain Failed; its details go to the log, once. */
function asReply(service: Service, error: unknown): ErrorReply {
  if (error instanceof StandardError) return { errorName: errorName(error), text: errorText(error) };
  if (error instanceof RequestError) return { errorName: errorName(error.code), text: errorText(error) };
  service.log.error({ err: error }, 'internal error');
  return asReply(service, new RequestError('Failed', 'internal error', { hint: "the service's log says more" }));
}

/** What the kernel said about a failed mount, for the audit line. */
function causeOf(error: unknown): { cause?: string } {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof SyscallError ? { cause: cause.message } : {};
}

async function runMethod(service: Service, message: Message, fds: FdList, caller: Caller): Promise<Reply> {
  const { member, entry } = requireCall(message);
  const started = process.hrtime.bigint();
  const notes: Notes = {};
  const record = (verdict: 'allow' | 'deny', outcome: { reason?: string; error?: string; cause?: string }): void => {
    if (!entry.audited) return;
    const us = Number((process.hrtime.bigint() - started) / 1000n);
    audit(service.log, { uid: caller.uid, pid: caller.pid, method: member.name, ...notes, ...outcome, verdict, us });
  };
  try {
    requireRoot(member, caller);
    const reply = await entry.run(service, caller, message.body, fds, notes);
    record(notes.verdict ?? 'allow', {});
    return reply;
  } catch (error) {
    const known = error instanceof RequestError ? error.code : 'Failed';
    const reason = error instanceof RequestError ? error.message : 'internal error';
    record('deny', { reason, error: known, ...causeOf(error) });
    throw error;
  }
}

/** How many calls of one user may be under way, over all connections: a bus connection is shared, and so are threads and memory. */
const MAX_CALLS_PER_USER = 64;

export function createDispatcher(service: Service): CallHandler {
  const underWay = new Map<number, number>();

  async function runCounted(message: Message, fds: FdList, caller: Caller): Promise<Reply> {
    const count = underWay.get(caller.uid) ?? 0;
    if (count >= MAX_CALLS_PER_USER) {
      const reason = `uid ${caller.uid} has ${count} calls under way`;
      const method = requireCall(message).member.name;
      audit(service.log, { uid: caller.uid, pid: caller.pid, method, verdict: 'deny', error: 'QuotaExceeded', reason });
      throw new RequestError('QuotaExceeded', reason, { hint: 'wait for answers' });
    }
    underWay.set(caller.uid, count + 1);
    try {
      return await runMethod(service, message, fds, caller);
    } finally {
      const left = underWay.get(caller.uid)! - 1;
      if (left === 0) underWay.delete(caller.uid);
      else underWay.set(caller.uid, left);
    }
  }

  return async (message, fds, callerOf) => {
    using _unclaimed = fds;
    using _policy = service.hold();
    try {
      const standard = answerStandard(service, message);
      if (standard) return standard;
      return await runCounted(message, fds, await callerOf());
    } catch (error) {
      return asReply(service, error);
    }
  };
}
