// What podman must be told of the volume plugin: a file of our own beside the user's containers.conf.
import { RequestError } from '../../core/wire/errors.js';
import { quoteToml } from './toml-edit.js';
import { parseTomlFile, valueAt } from './toml-file.js';

const FIRST_LINE = '# Written by cfsctl setup podman; cfsctl setup podman --undo takes it away.';

/** The name that `podman volume create --driver` knows it by. */
export const DRIVER_NAME = 'cfs';

export function composePluginConf(socket: string): string {
  return `${FIRST_LINE}
[engine]
# Seconds: of a large image, all is read before it is mounted for the first time.
volume_plugin_timeout = 60

[engine.volume_plugins]
${DRIVER_NAME} = ${quoteToml(socket)}
`;
}

/** Throws `RequestError` BadRequest for a file that somebody else has written. */
export function requireOurs(path: string, text: string | undefined): void {
  if (text === undefined || text.startsWith(FIRST_LINE)) return;
  throw new RequestError('BadRequest', `${path} was not written by cfsctl setup podman`, { hint: 'move it away' });
}

/** The socket that podman is told of; undefined if the file does not say. */
export function socketOf(path: string, text: string): string | undefined {
  const socket = valueAt(parseTomlFile(path, text).values, ['engine', 'volume_plugins', DRIVER_NAME]);
  return typeof socket === 'string' ? socket : undefined;
}
