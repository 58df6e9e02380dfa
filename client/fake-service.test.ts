// No tests: a stand-in for the service, for the tests of the command. Our own server side without policy or mounts.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type OwnedFd } from '../core/kernel/fd.js';
import { watch } from '../core/kernel/poll.js';
import { acceptStream, listenStream, receive, send } from '../core/kernel/socket.js';
import { type Message, decodeMessage, encodeError, encodeMethodReturn } from '../core/wire/codec.js';
import { MOUNT_INTERFACE, findMember, signatureOf } from '../core/wire/contract.js';
import { RequestError, errorName, errorText } from '../core/wire/errors.js';
import { createFrameSplitter } from '../core/wire/frames.js';
import { REQUEST_LIMITS, checkMessage } from '../core/wire/guard.js';
import { createSaslServer } from '../core/wire/sasl-server.js';

interface Answer {
  readonly body: readonly unknown[];
  /** Sent with it, and closed here. */
  readonly fds?: readonly OwnedFd[];
}
/** The descriptors are closed when it returns. What it throws as a RequestError is the answer. */
type Service = (message: Message, fds: readonly OwnedFd[]) => Answer;

export const CFSCTL = fileURLToPath(new URL('cfsctl.js', import.meta.url));

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Fixture {
  /** A directory of this test file's own, where commands run. */
  readonly directory: string;
  readonly socketPath: string;
  service: Service;
  run(command: string, args: readonly string[]): Promise<Outcome>;
  cfsctl(...args: string[]): Promise<Outcome>;
}

/** Serves while the tests of this file run. */
export function startFixture(): Fixture {
  const directory = mkdtempSync(join(tmpdir(), 'cfsctl-'));
  const socketPath = join(directory, 'socket');
  const run = (command: string, args: readonly string[]): Promise<Outcome> =>
    new Promise((resolve) => {
      execFile(command, args, { encoding: 'utf8', cwd: directory, timeout: 60_000 }, (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 99), stdout, stderr });
      });
    });
  const fixture: Fixture = {
    directory,
    socketPath,
    service: () => {
      throw new Error('this test gave no service');
    },
    run,
    cfsctl: (...args) => run(process.execPath, [CFSCTL, '--address', `unix:path=${socketPath}`, ...args]),
  };
  let stop: () => void;
  before(() => {
    stop = listenAs(socketPath, (message, fds) => fixture.service(message, fds));
  });
  after(() => {
    stop();
    rmSync(directory, { recursive: true });
  });
  return fixture;
}

/** Listens and answers until the function it returns is called. */
function listenAs(path: string, service: Service): () => void {
  const listener = listenStream(path, 16);
  const open = new Set<() => void>();
  const accepting = watch(listener, () => {
    const peer = acceptStream(listener);
    if (peer) open.add(serve(peer, service));
  });
  return () => {
    accepting.stop();
    listener.close();
    for (const close of open) close();
  };
}

/** Serves one peer until it goes. */
function serve(peer: OwnedFd, service: Service): () => void {
  const sasl = createSaslServer({ guid: '0'.repeat(32), peerUid: process.getuid!() });
  const splitter = createFrameSplitter(REQUEST_LIMITS.maxBytes);
  const buffer = Buffer.alloc(65536);
  const pending: OwnedFd[] = [];
  let authenticated = false;
  const close = (): void => {
    watching.stop();
    for (const fd of pending.splice(0)) fd.close();
    peer.close();
  };
  const watching = watch(peer, () => {
    const got = receive(peer, buffer);
    if (got === null) return;
    if (got.bytes === 0) return close();
    pending.push(...got.fds);
    let bytes = Buffer.from(buffer.subarray(0, got.bytes));
    if (!authenticated) {
      const step = sasl.push(bytes);
      if (step.reply) send(peer, step.reply);
      if (!step.done) return;
      authenticated = true;
      bytes = Buffer.from(step.done.rest);
    }
    for (const message of splitter.push(bytes)) reply(peer, message, pending, service);
  });
  return () => {
    if (peer.isOpen) close();
  };
}

function reply(peer: OwnedFd, bytes: Buffer, pending: OwnedFd[], service: Service): void {
  const header = checkMessage(bytes, REQUEST_LIMITS, pending.length);
  const fds = pending.splice(0, header.unixFds);
  const envelope = { serial: 1, replySerial: header.serial };
  try {
    const { body, fds: sent = [] } = service(decodeMessage(bytes, header), fds);
    const member = findMember(MOUNT_INTERFACE, header.member);
    const signature = member ? signatureOf(member.out) : 'a{sv}';
    send(peer, encodeMethodReturn({ ...envelope, signature, body, fds: sent.length }), sent);
    for (const fd of sent) fd.close();
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    send(peer, encodeError({ ...envelope, errorName: errorName(error.code), text: errorText(error) }));
  } finally {
    for (const fd of fds) fd.close();
  }
}
