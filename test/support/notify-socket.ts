// The service manager's end of sd_notify(3), with its store of descriptors.
import { OwnedFd } from '../../core/kernel/fd.js';
import { bind } from '../../core/kernel/libc.js';
import { receive } from '../../core/kernel/socket.js';

const socketCall = bind('socket', ['int', 'int', 'int']);
const bindCall = bind('bind', ['fd', 'buffer', 'u32']);

const AF_UNIX = 1;
const DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;

export interface NotifySocket {
  /** What has come since the last look, one entry for each message; descriptors go into the store. */
  take(): string[];
  /** Descriptors kept for the service, by the names they were given. */
  readonly store: ReadonlyMap<string, OwnedFd>;
  close(): void;
}

/** Binds a datagram socket at a path. */
export function openNotifySocket(path: string): NotifySocket {
  const socket = OwnedFd.adopt(socketCall(AF_UNIX, DGRAM_NONBLOCK_CLOEXEC, 0));
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, 2);
  bindCall(socket.raw, address, address.length);
  const store = new Map<string, OwnedFd>();

  function remember(message: string, fds: readonly OwnedFd[]): void {
    const name = /^FDNAME=(.+)$/m.exec(message)?.[1] ?? 'stored';
    if (/^FDSTOREREMOVE=1$/m.test(message)) {
      store.get(name)?.close();
      store.delete(name);
    }
    if (/^FDSTORE=1$/m.test(message)) for (const fd of fds) store.set(name, fd);
    else for (const fd of fds) fd.close();
  }

  return {
    store,
    take() {
      const messages: string[] = [];
      const buffer = Buffer.alloc(4096);
      for (let got = receive(socket, buffer); got; got = receive(socket, buffer)) {
        const message = buffer.toString('utf8', 0, got.bytes);
        remember(message, got.fds);
        messages.push(message);
      }
      return messages;
    },
    close() {
      for (const fd of store.values()) fd.close();
      socket.close();
    },
  };
}
