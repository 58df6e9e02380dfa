// One connection as the service sees it: calls come in, replies go out, whatever lies below.
import type { FdList, OwnedFd } from '../../core/kernel/fd.js';
import type { Message } from '../../core/wire/codec.js';
import { encodeError, encodeMethodReturn } from '../../core/wire/codec.js';
import { errorName, errorText, RequestError } from '../../core/wire/errors.js';
import { ALLOW_INTERACTIVE_AUTHORIZATION, METHOD_CALL, type MessageHeader } from '../../core/wire/header.js';
import type { FdStream } from './stream.js';

/** A unique name on the bus, or the process that made the connection, as the kernel recorded it. */
export type Subject =
  | { readonly kind: 'bus-name'; readonly name: string }
  | { readonly kind: 'process'; readonly pid: number; openPidfd(): OwnedFd | undefined };

/** What the caller said in the flags of its message. */
export const mayInteract = ({ flags }: MessageHeader): boolean => (flags & ALLOW_INTERACTIVE_AUTHORIZATION) !== 0;

/** Who calls, by the word of the kernel or of the bus driver, in host ids. */
export interface Caller {
  readonly uid: number;
  /** Primary and supplementary groups. */
  readonly gids: readonly number[];
  /** Host uid that pays for work which no user namespace is named for: the outermost owner around the caller, where that is known. */
  readonly payer: number;
  /** For the log only: a pid says nothing about rights. */
  readonly pid: number | undefined;
  readonly transport: 'direct' | 'bus';
  /** Who it is in the words of an authority on the bus. */
  readonly subject: Subject;
  /** Whether a person may be asked for a password because of this call. */
  readonly mayInteract: boolean;
  /** Calls back when the caller leaves or has left, until disposed. Rejects if that cannot be watched. */
  watchGone(onGone: () => void): Promise<Disposable>;
  /** True once the caller cannot receive an answer any more. */
  isGone(): boolean;
}

export interface Reply {
  readonly signature: string;
  readonly body: readonly unknown[];
  /** Become the transport's. */
  readonly fds?: readonly OwnedFd[];
}

/** A failure as it goes over the wire. */
export interface ErrorReply {
  readonly errorName: string;
  readonly text: string;
}

/** Answers one method call. Must not throw; disposes the list itself. */
export type CallHandler = (message: Message, fds: FdList, caller: () => Promise<Caller>) => Promise<Reply | ErrorReply>;

/** How many calls of one peer may be under way before it is read no further. */
export const MAX_CALLS_UNDER_WAY = 16;

/** Reading stops between chunks, not between messages, so one chunk may bring more; a peer with so many times the limit is let go. */
const HARD_LIMIT = 4;

export interface CallGate {
  /** Runs a call and writes its answer, unless the caller wants none. Throws when the peer has far too many under way. */
  accept(message: Message, fds: FdList, caller: () => Promise<Caller>): void;
  readonly underWay: number;
}

function busy(count: number, whose: string): ErrorReply {
  const error = new RequestError('QuotaExceeded', `${count} calls ${whose} are under way`, { hint: 'wait for answers' });
  return { errorName: errorName(error.code), text: errorText(error) };
}

/** Writes the answer to a call, unless the caller wants none. */
type Answer = (call: Message, reply: Reply | ErrorReply) => void;

function createAnswer(stream: FdStream, nextSerial: () => number): Answer {
  return ({ header }, reply) => {
    const fds = 'fds' in reply ? (reply.fds ?? []) : [];
    if (header.noReplyExpected) {
      for (const fd of fds) fd.close();
      return;
    }
    const common = { serial: nextSerial(), replySerial: header.serial, destination: header.sender };
    if ('errorName' in reply) stream.write(encodeError({ ...common, ...reply }));
    else stream.write(encodeMethodReturn({ ...common, ...reply, fds: fds.length }), fds);
  };
}

/** Numbers the replies of a connection and holds back a peer that has too many calls under way. */
export function createCallGate(stream: FdStream, nextSerial: () => number, handler: CallHandler, maxUnderWay: number): CallGate {
  const answer = createAnswer(stream, nextSerial);
  let underWay = 0;

  async function run(message: Message, fds: FdList, caller: () => Promise<Caller>): Promise<void> {
    underWay++;
    stream.pauseReading(underWay >= maxUnderWay);
    try {
      answer(message, await handler(message, fds, caller));
    } finally {
      underWay--;
      stream.pauseReading(underWay >= maxUnderWay);
    }
  }

  return {
    accept(message, fds, caller) {
      if (message.header.type !== METHOD_CALL) return fds[Symbol.dispose]();
      if (underWay >= HARD_LIMIT * maxUnderWay) {
        fds[Symbol.dispose]();
        throw new Error('too many calls at once');
      }
      run(message, fds, caller).catch((error: unknown) => stream.close(String(error)));
    },
    get underWay() {
      return underWay;
    },
  };
}

/**
 * The same for a connection that many callers share, and on which the answers to the service's own questions come: it is read whatever happens, and a call that is
 * one too many, of its sender or of all, is refused.
 */
export function createSharedGate(
  stream: FdStream,
  nextSerial: () => number,
  handler: CallHandler,
  limits: { readonly perSender: number; readonly total: number },
): Pick<CallGate, 'accept'> {
  const answer = createAnswer(stream, nextSerial);
  const underWay = new Map<string, number>();
  let total = 0;

  function count(sender: string, difference: 1 | -1): void {
    const left = (underWay.get(sender) ?? 0) + difference;
    total += difference;
    if (left === 0) underWay.delete(sender);
    else underWay.set(sender, left);
  }

  function whyTooMany(sender: string): ErrorReply | undefined {
    if ((underWay.get(sender) ?? 0) >= limits.perSender) return busy(limits.perSender, 'of yours');
    return total >= limits.total ? busy(total, 'on the bus') : undefined;
  }

  async function run(message: Message, fds: FdList, caller: () => Promise<Caller>): Promise<void> {
    const { sender } = message.header;
    count(sender, 1);
    try {
      answer(message, await handler(message, fds, caller));
    } finally {
      count(sender, -1);
    }
  }

  return {
    accept(message, fds, caller) {
      const refusal = whyTooMany(message.header.sender);
      if (refusal === undefined) return void run(message, fds, caller).catch((error: unknown) => stream.close(String(error)));
      fds[Symbol.dispose]();
      answer(message, refusal);
    },
  };
}
