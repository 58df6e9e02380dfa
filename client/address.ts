// Where the service is reached. D-Bus specification, "Server Addresses".
import { RequestError } from '../core/wire/errors.js';
import { DEFAULT_SOCKET } from '../core/wire/names.js';

/** D-Bus specification, "Standard system bus". */
const SYSTEM_BUS_SOCKET = '/run/dbus/system_bus_socket';

export interface Address {
  /** On a bus we have to say Hello, and to name the service in every call. */
  readonly bus: boolean;
  /** Path of the socket; an abstract name begins with NUL. */
  readonly socket: string;
}

const HINT = 'write unix:path=/some/socket, unix:abstract=name, bus:unix:path=/some/bus, or system';

/**
 * The sockets to try, in this order. `unix:…` is the service's own socket, `bus:unix:…` a message bus at that address, `system` the
 * system bus; without an address the service's default socket and then the system bus. Throws `RequestError` BadRequest.
 */
export function parseAddress(text: string | undefined, environment: NodeJS.ProcessEnv = process.env): Address[] {
  if (text === undefined) return [{ bus: false, socket: DEFAULT_SOCKET }, ...systemBus(environment)];
  if (text === 'system') return systemBus(environment);
  if (text.startsWith('bus:')) return parseList(text.slice('bus:'.length), true);
  return parseList(text, false);
}

/** An address as people write it. */
export function formatAddress({ bus, socket }: Address): string {
  const escape = (path: string): string => path.replace(/[^-0-9A-Za-z_/.*\\]/gu, (char) => encodeURIComponent(char));
  const transport = socket.startsWith('\0') ? `abstract=${escape(socket.slice(1))}` : `path=${escape(socket)}`;
  return `${bus ? 'bus:' : ''}unix:${transport}`;
}

function systemBus(environment: NodeJS.ProcessEnv): Address[] {
  const configured = environment['DBUS_SYSTEM_BUS_ADDRESS'];
  return configured === undefined || configured === '' ? [{ bus: true, socket: SYSTEM_BUS_SOCKET }] : parseList(configured, true);
}

function parseList(text: string, bus: boolean): Address[] {
  return text.split(';').map((address) => ({ bus, socket: parseUnixAddress(address) }));
}

function parseUnixAddress(text: string): string {
  if (!text.startsWith('unix:')) throw new RequestError('BadRequest', 'it is not the address of a Unix socket', { hint: HINT });
  const pairs = text.slice('unix:'.length).split(',').map(parsePair);
  const values = new Map(pairs);
  if (values.size < pairs.length) throw new RequestError('BadRequest', 'the address gives a key twice', { hint: HINT });
  values.delete('guid');
  const [[key, value = ''] = ['', '']] = values;
  if (values.size !== 1 || value === '' || (key !== 'path' && key !== 'abstract')) {
    throw new RequestError('BadRequest', 'the address must have either path= or abstract=', { hint: HINT });
  }
  return key === 'abstract' ? `\0${value}` : value;
}

function parsePair(pair: string): [key: string, value: string] {
  const equals = pair.indexOf('=');
  return equals < 0 ? [pair, ''] : [pair.slice(0, equals), unescape(pair.slice(equals + 1))];
}

function unescape(value: string): string {
  try {
    const text = decodeURIComponent(value);
    if (!text.includes('\0')) return text;
  } catch {
    // Malformed %xx, or bytes that are no UTF-8.
  }
  throw new RequestError('BadRequest', 'the address holds a malformed %xx', { hint: HINT });
}
