// The volume plugin: told to podman, and there.
import { request } from 'node:http';
import { pluginConf, readIfThere } from '../setup/places.js';
import { socketOf } from '../setup/plugin-conf.js';
import { type Finding, ok, warn } from './finding.js';

const CHECK = 'volume plugin';
const TIMEOUT = 10_000;

export async function checkPlugin(): Promise<Finding> {
  const path = pluginConf();
  const text = readIfThere(path);
  const socket = text === undefined ? undefined : socketOf(path, text);
  if (socket === undefined)
    return warn(CHECK, 'podman does not know it', 'cfsctl setup podman --write, if you want images as volumes');
  const trouble = await activate(socket);
  if (trouble === undefined) return ok(CHECK, `answers on ${socket}`);
  return warn(
    CHECK,
    `does not answer on ${socket} (${trouble})`,
    'systemctl --user enable --now cfsctl-volume-plugin.socket, or podman unshare cfsctl volume-plugin',
  );
}

/** Undefined if it answers as a volume plugin does; else why not. */
async function activate(socketPath: string): Promise<string | undefined> {
  return await new Promise((resolve) => {
    const asking = request({ socketPath, path: '/Plugin.Activate', method: 'POST', timeout: TIMEOUT }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk.slice(0, TIMEOUT)));
      response.on('end', () => resolve(body.includes('"VolumeDriver"') ? undefined : 'it is something else'));
    });
    asking.on('timeout', () => asking.destroy(new Error('time-out')));
    asking.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asking.end();
  });
}
