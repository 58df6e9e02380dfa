// cfsctl volume-plugin: serves until it is told to end, or podman has another namespace.
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import type { ConnectOptions } from '../connect.js';
import { formatError, printError } from '../output.js';
import { requirePodmanNamespace } from '../user-namespace.js';
import { runtimeDirectory, stateDirectory } from '../xdg.js';
import { createDriver } from './driver.js';
import { openListener } from './listener.js';
import { preparePlaces } from './places.js';
import { type Peer, serveVolumes } from './server.js';

/** Where podman is told to find the plugin. */
export function defaultSocket(): string {
  return join(runtimeDirectory(), 'cfsctl/volume.sock');
}

export interface PluginOptions {
  readonly socket?: string | undefined;
  readonly service: ConnectOptions;
}

/** Milliseconds without a connection after which a plugin ends that is started again when it is called. */
const IDLE = 300_000;

export async function runVolumePlugin({ socket, service }: PluginOptions): Promise<void> {
  requirePodmanNamespace('volume-plugin');
  const base = join(runtimeDirectory(), 'cfsctl/volumes');
  const listener = openListener(socket ?? defaultSocket());
  const ending = createEnding();
  try {
    preparePlaces(base);
    const drive = createDriver({ records: join(stateDirectory(), 'cfsctl/volumes'), base, service });
    let lastCall = Date.now();
    const server = serveVolumes(
      listener.socket,
      async (call, peer) => {
        lastCall = Date.now();
        if (call.path === '/VolumeDriver.Mount') requireSameNamespace(peer, ending.fail);
        return await drive(call, peer);
      },
      (error) => printError(formatError({ code: 'Failed', message: String(error) }, false)),
    );
    const idle = setInterval(() => {
      if (listener.activated && server.count() === 0 && Date.now() - lastCall > IDLE) ending.end();
    }, IDLE / 10);
    try {
      await ending.reached;
    } finally {
      clearInterval(idle);
      await server.close();
    }
  } finally {
    listener.close();
  }
}

interface Ending {
  readonly reached: Promise<void>;
  end(): void;
  fail(error: RequestError): void;
}

function createEnding(): Ending {
  let end = (): void => undefined;
  let fail: Ending['fail'] = () => undefined;
  const reached = new Promise<void>((resolve, reject) => {
    [end, fail] = [resolve, reject];
  });
  // Whoever fails before it is waited for is heard when it is.
  reached.catch(() => undefined);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => end());
  return { reached, end: () => end(), fail: (error) => fail(error) };
}

/** After `podman system migrate`, podman has a new namespace, and nothing that is attached in the old one is seen there. */
function requireSameNamespace({ sharesMounts }: Peer, fail: Ending['fail']): void {
  if (sharesMounts === true) return;
  const error = new RequestError('Failed', 'podman is not in the namespace of the volume plugin', {
    hint: 'try again, after systemctl --user restart cfsctl-volume-plugin.service if need be, or podman unshare cfsctl volume-plugin',
  });
  if (sharesMounts === false) fail(error);
  throw error;
}
