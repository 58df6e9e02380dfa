// D-Bus messages over a stream: framing, the guard before the parser, and each message's own descriptors.
import { FdList, type OwnedFd } from '../../core/kernel/fd.js';
import { decodeMessage, type Message } from '../../core/wire/codec.js';
import { createFrameSplitter } from '../../core/wire/frames.js';
import { checkMessage, REQUEST_LIMITS, type GuardLimits } from '../../core/wire/guard.js';
import { MAX_FDS, METHOD_CALL, type MessageHeader } from '../../core/wire/header.js';
import { ProtocolError } from '../../core/wire/protocol-error.js';
import { MAX_OBJECT_STORES } from '../../core/wire/requests.js';

/** A user namespace, a file, its object stores: more would only be held for nothing, by each of a user's connections. */
export const MAX_CALL_FDS = 2 + MAX_OBJECT_STORES;

export interface MessageReader {
  /** Takes ownership of the descriptors. Throws ProtocolError, after which the stream is of no use. */
  push(chunk: Buffer, fds: readonly OwnedFd[]): void;
  /** Closes the descriptors that belong to no message yet. */
  close(): void;
}

/** The handler owns the list: disposing it closes what was not taken. */
export type OnMessage = (message: Message, fds: FdList) => void;

export interface ReaderOptions {
  readonly limits: GuardLimits;
  /** Descriptors that may wait for the rest of their message; as many as a message can have unless told. */
  readonly maxPendingFds?: number;
  readonly onMessage: OnMessage;
  /**
   * On a bus one connection carries everybody's messages, and any local user can make the bus forward a bad one: it is passed here
   * instead of ending the connection. Without it, a bad message ends the peer that sent it.
   */
  readonly onBadMessage?: (header: MessageHeader, error: ProtocolError) => void;
}

export function createMessageReader({ limits, maxPendingFds = MAX_FDS, onMessage, onBadMessage }: ReaderOptions): MessageReader {
  const splitter = createFrameSplitter(limits.maxBytes);
  const pending: OwnedFd[] = [];

  function takeFds(header: MessageHeader): FdList {
    return new FdList(pending.splice(0, header.unixFds));
  }

  function refuse(error: unknown, fds: FdList | undefined): void {
    const header = error instanceof ProtocolError ? error.header : undefined;
    if (!header || !onBadMessage) {
      fds?.[Symbol.dispose]();
      throw error;
    }
    (fds ?? takeFds(header))[Symbol.dispose]();
    onBadMessage(header, error as ProtocolError);
  }

  function deliver(frame: Buffer): void {
    let fds: FdList | undefined;
    let message: Message;
    try {
      const header = checkMessage(frame, limits, pending.length);
      fds = takeFds(header);
      requireCallSize(frame, header);
      message = decodeMessage(frame, header);
    } catch (error) {
      return refuse(error, fds);
    }
    onMessage(message, fds);
  }

  return {
    push(chunk, fds) {
      pending.push(...fds);
      for (const frame of splitter.push(chunk)) deliver(frame);
      // Counted now: the chunk may hold the end of one message and the start of the next, each with descriptors.
      if (pending.length > maxPendingFds) throw new ProtocolError('more descriptors than a message can have');
      // A sender attaches descriptors to the message that claims them: with no message begun, these are nobody's.
      if (splitter.pendingBytes === 0 && pending.length > 0) throw new ProtocolError('descriptors that no message claims');
    },
    close() {
      for (const fd of pending.splice(0)) fd.close();
    },
  };
}

/** Replies of a bus driver may be long, a call never is. */
function requireCallSize(frame: Buffer, header: MessageHeader): void {
  if (header.type !== METHOD_CALL) return;
  if (header.unixFds > MAX_CALL_FDS) throw new ProtocolError(`a call has at most ${MAX_CALL_FDS} descriptors`, { header });
  if (frame.length <= REQUEST_LIMITS.maxBytes) return;
  throw new ProtocolError(`a call has at most ${REQUEST_LIMITS.maxBytes} bytes`, { header });
}
