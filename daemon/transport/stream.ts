// A unix stream socket on the event loop, with descriptors: bytes and the descriptors that came with them go up, messages go down.
import type { Closer, OwnedFd } from '../../core/kernel/fd.js';
import { watch } from '../../core/kernel/poll.js';
import { receive, send } from '../../core/kernel/socket.js';

export interface StreamEvents {
  /** Asked before anything is received: false for not now. A throw closes the stream and leaves in it what the peer has sent. */
  mayReceive?(): boolean;
  /** Takes ownership of the descriptors. A throw closes the stream with its message as the reason. */
  onData(chunk: Buffer, fds: OwnedFd[]): void;
  /** Once, when the stream is closed for whatever reason. */
  onClosed(reason: string): void;
}

export interface FdStream {
  /** Queues a message; the descriptors become the stream's and are closed once sent, or never. */
  write(message: Buffer, fds?: readonly OwnedFd[]): void;
  /** Stops and starts reading: what the peer sends meanwhile stays in its socket. */
  pauseReading(paused: boolean): void;
  readonly queuedBytes: number;
  close(reason: string): void;
}

/** Bytes read of one peer before the others get their turn: some ten calls. */
const READ_SIZE = 8 * 1024;
/** How long a peer waits that may not be received of now. Milliseconds. */
const HOLD_BACK = 20;
/** A peer that does not read may keep so many bytes waiting before it is dropped. */
const MAX_QUEUED_BYTES = 1024 * 1024;

interface Outgoing {
  rest: Buffer;
  fds: readonly OwnedFd[];
}

// One buffer for all streams: what is read is handed up as a copy of its size.
const readBuffer = Buffer.allocUnsafeSlow(READ_SIZE);

/** Takes ownership of a connected socket that does not block. `closer` closes what the peer sends. */
export function openStream(socket: OwnedFd, events: StreamEvents, closer?: Closer): FdStream {
  const queue: Outgoing[] = [];
  let queuedBytes = 0;
  let paused = false;
  let heldBack = false;

  function updateReading(): void {
    if (socket.isOpen) watcher.wantReadable(!paused && !heldBack);
  }

  function holdBack(held: boolean): void {
    heldBack = held;
    updateReading();
    if (held) setTimeout(holdBack, HOLD_BACK, false).unref();
  }

  function close(reason: string): void {
    if (!socket.isOpen) return;
    watcher.stop();
    socket.close();
    for (const { fds } of queue.splice(0)) for (const fd of fds) fd.close();
    events.onClosed(reason);
  }

  /** The stream's own duty on every path: an error here concerns this peer alone. */
  function guarded(step: () => void): void {
    try {
      if (socket.isOpen) step();
    } catch (error) {
      close(error instanceof Error ? error.message : String(error));
    }
  }

  function readOnce(): void {
    if (events.mayReceive?.() === false) return holdBack(true);
    const received = receive(socket, readBuffer, closer);
    if (!received) return;
    if (received.truncated || received.bytes === 0) {
      for (const fd of received.fds) fd.close();
      return close(received.truncated ? 'descriptors were lost on the way' : 'closed by the peer');
    }
    events.onData(Buffer.from(readBuffer.subarray(0, received.bytes)), received.fds);
  }

  function flush(): void {
    while (queue.length > 0) {
      const head = queue[0]!;
      const sent = send(socket, head.rest, head.fds);
      if (sent === null) break;
      for (const fd of head.fds) fd.close(); // they went with the first byte
      head.fds = [];
      head.rest = head.rest.subarray(sent);
      queuedBytes -= sent;
      if (head.rest.length === 0) queue.shift();
    }
    watcher.wantWritable(queue.length > 0);
  }

  const watcher = watch(socket, ({ readable, writable }) => {
    if (writable) guarded(flush);
    if (readable) guarded(readOnce);
  });

  return {
    write(message, fds = []) {
      if (!socket.isOpen) {
        for (const fd of fds) fd.close();
        return;
      }
      queue.push({ rest: message, fds });
      queuedBytes += message.length;
      guarded(flush);
      if (queuedBytes > MAX_QUEUED_BYTES) close('does not read its replies');
    },
    pauseReading(wanted) {
      paused = wanted;
      updateReading();
    },
    get queuedBytes() {
      return queuedBytes;
    },
    close,
  };
}
