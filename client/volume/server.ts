// HTTP on a Unix socket: one request on a connection, of its owner alone, small, and in time.
import { type IncomingMessage, Server, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { watch } from '../../core/kernel/poll.js';
import { acceptStream } from '../../core/kernel/socket.js';
import { RequestError } from '../../core/wire/errors.js';
import { escapeText } from '../output.js';
import type { Asker } from './driver.js';
import { isOwner, sharesMounts } from './peer.js';
import { type Call, MAX_BODY, MEDIA_TYPE, parseCall } from './protocol.js';

const MAX_CONNECTIONS = 64;
const MAX_HEADERS = 8192;
/** Milliseconds in which a request must have come. */
const ARRIVAL = 10_000;

/** Where the request came from: for what is attached, that must be the namespace it is attached in. */
export interface Peer extends Asker {
  readonly sharesMounts: boolean | 'unknown';
}

/** Returns the body of the answer. What it throws as a RequestError is the answer. */
type Perform = (call: Call, peer: Peer) => Promise<object>;

export interface VolumeServer {
  /** Connections that are open. */
  count(): number;
  /** Takes no more connections; resolves when those there have been answered. */
  close(): Promise<void>;
}

/** The listening socket stays the caller's: to be closed after the server. `onUnexpected` is told of what is no answer. */
export function serveVolumes(listener: OwnedFd, perform: Perform, onUnexpected: (error: unknown) => void): VolumeServer {
  const peers = new Map<Socket, Peer['sharesMounts']>();
  let onEmpty = (): void => undefined;
  const server = new Server({ maxHeaderSize: MAX_HEADERS, keepAlive: false }, (request, response) => {
    void answer(request, response, peers.get(request.socket) ?? 'unknown', perform, onUnexpected);
  });
  const accepting = watch(listener, () => {
    for (let fd = acceptStream(listener); fd !== null; fd = acceptStream(listener)) admit(fd);
  });

  function admit(fd: OwnedFd): void {
    if (peers.size >= MAX_CONNECTIONS || !isOwner(fd)) return fd.close();
    const shares = sharesMounts(fd);
    const socket = new Socket({ fd: fd.release(), readable: true, writable: true });
    peers.set(socket, shares);
    const late = setTimeout(() => socket.destroy(), ARRIVAL);
    arrivals.set(socket, late);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(late);
      peers.delete(socket);
      if (peers.size === 0) onEmpty();
    });
    server.emit('connection', socket);
  }

  return {
    count: () => peers.size,
    async close() {
      accepting.stop();
      if (peers.size > 0) await new Promise<void>((resolve) => (onEmpty = resolve));
    },
  };
}

/** Timers of the connections whose request has not come yet. */
const arrivals = new WeakMap<Socket, NodeJS.Timeout>();

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  shares: Peer['sharesMounts'],
  perform: Perform,
  onUnexpected: (error: unknown) => void,
): Promise<void> {
  const { socket } = request;
  try {
    if (request.method !== 'POST') throw new RequestError('BadRequest', 'only POST is known');
    const body = await readBody(request);
    clearTimeout(arrivals.get(socket));
    const call = parseCall(request.url, body);
    send(response, 200, { ...(await perform(call, { sharesMounts: shares, isThere: () => !socket.destroyed })), Err: '' });
  } catch (error) {
    if (socket.destroyed) return;
    if (!(error instanceof RequestError)) onUnexpected(error);
    const [status, text] = error instanceof RequestError ? explain(error) : [500, 'the plugin failed; see what it says'];
    send(response, status, { Err: text });
  }
}

function explain({ code, message, hint }: RequestError): [status: number, text: string] {
  const lines = [message, ...(hint?.split('\n') ?? [])].filter((line) => line.trim() !== '').map(escapeText);
  return [code === 'BadRequest' ? 400 : 500, lines.join('; ')];
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': MEDIA_TYPE, connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new RequestError('BadRequest', `the request has more than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
