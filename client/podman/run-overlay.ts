// podman calls it at each start of a container, as root of its own user and mount namespace. If it fails, the container does not start, and podman shows what it said.
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { execute } from '../../core/kernel/exec.js';
import { RequestError } from '../../core/wire/errors.js';
import { type MountClient, connect } from '../mount-client.js';
import { escapeText, printError } from '../output.js';
import { attachLayer, detachLayer, isAttached, isRefusal, lockMounts } from './attach-layer.js';
import { layerDirectoryOf, lowerLayersOf } from './overlay-options.js';
import { isSystemError } from './store-error.js';
import { type LayerMarker, damagedLayer, isOwnStore, readMarker, storeOf } from './store-layout.js';

/** For the service, and for another container that starts at the same time. */
const TIMEOUT_MS = 30_000;

/** Does not return if all is well: it becomes fuse-overlayfs. */
export function runOverlay(args: readonly string[]): number {
  try {
    const program = findProgram('fuse-overlayfs');
    attachLowers(lowerLayersOf(args));
    execute(program, ['fuse-overlayfs', ...args], process.env);
  } catch (error) {
    if (!(error instanceof RequestError) && !isSystemError(error)) throw error;
    printError(formatComplaint(error));
  }
  return 1;
}

/** podman puts it into one line with much else: of a hint, what stands before a text to copy. */
function formatComplaint(error: Error): string {
  const [next = ''] = error instanceof RequestError ? (error.hint?.split('\n') ?? []) : [];
  const hint = next === '' ? '' : ` (${next.replace(/:$/, '')})`;
  return `cfs-overlay: ${escapeText(error.message + hint)}\n`;
}

interface OwnLayer extends LayerMarker {
  readonly directory: string;
}

/** Each layer of ours among the lower directories is attached when this returns, by a decision of the service that was made now. Throws `RequestError`. */
function attachLowers(lowers: readonly string[]): void {
  const layers = lowers.flatMap((lower) => ownLayerOf(lower) ?? []);
  if (layers.length === 0) return;
  using client = connect({ timeoutMs: TIMEOUT_MS });
  using _lock = lockMounts(TIMEOUT_MS);
  for (const layer of layers) {
    if (isAttached(layer.directory)) requireStillTrusted(client, layer);
    else attachLayer(client, layer.directory, layer);
  }
}

/** Undefined for a layer that is not ours. Throws `RequestError` for what is none, but should be: fuse-overlayfs must not be given a root file system that is not there. */
function ownLayerOf(lower: string): OwnLayer | undefined {
  const directory = layerDirectoryOf(lower);
  const marker = directory === undefined ? undefined : readMarker(directory);
  if (directory !== undefined && marker !== undefined) return { ...marker, directory };
  if (statSync(lower, { throwIfNoEntry: false })?.isDirectory() === true) return undefined;
  const why = `the layer at ${lower} is damaged`;
  throw directory !== undefined && isOwnStore(storeOf(directory))
    ? damagedLayer(directory, why)
    : new RequestError('BadImage', why);
}

/** A mount goes on when trust is taken back, but no container is to be started on it. Throws `RequestError`. */
function requireStillTrusted(client: MountClient, { image, directory }: OwnLayer): void {
  try {
    const { verdict, because, hint } = client.checkImage(image, { digest: image });
    if (verdict === 'deny') throw new RequestError('NotTrusted', because, { hint });
  } catch (error) {
    if (isRefusal(error)) detachLayer(directory);
    throw error;
  }
}

const ALWAYS = ['/usr/local/bin', '/usr/bin', '/bin'];

function findProgram(name: string): string {
  for (const directory of [...(process.env['PATH'] ?? '').split(':').filter((each) => each.startsWith('/')), ...ALWAYS]) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not there.
    }
  }
  throw new RequestError('NotSupported', `${name} is not installed`, { hint: `apt-get install ${name}` });
}
