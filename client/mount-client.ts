import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { MOUNT_INTERFACE, findMember, signatureOf } from '../core/wire/contract.js';
import { RequestError } from '../core/wire/errors.js';
import { INTERFACE, OBJECT_PATH, PROPERTIES } from '../core/wire/names.js';
import { ProtocolError } from '../core/wire/protocol-error.js';
import {
  type CheckReport,
  type ImageEntry,
  type MountEntry,
  type MountResult,
  type PolicySummary,
  decodeCheckReport,
  decodeImageEntries,
  decodeMountEntries,
  decodeMountResult,
  decodePolicySummary,
} from '../core/wire/results.js';
import { type Dict, readShapedDict, variant } from '../core/wire/variants.js';
import { formatAddress } from './address.js';
import { type ConnectOptions, openService } from './connect.js';
import type { Connection, MethodCall, Reply } from './connection.js';
import { VERSION_HINT } from './remote-error.js';
import { openOwnUserns } from './user-namespace.js';

export interface ImageOptions {
  /** The fs-verity digest the image must turn out to have: `sha256:…` or `sha512:…`. */
  readonly digest?: string | undefined;
  /** Restrictions to add; the mount is read-only and nodev in any case. */
  readonly nosuid?: boolean | undefined;
  readonly noexec?: boolean | undefined;
  /** A detached PKCS#7 signature over the digest of the image, as `fsverity sign` makes it. */
  readonly signature?: Uint8Array | undefined;
}

export interface MountOptions extends ImageOptions {
  /** The user namespace whose ids the mount shall have; this process's own unless given. Stays the caller's. */
  readonly userns?: Fd | undefined;
}

export interface ReceivedMount {
  /** A detached mount: attach it, and close the descriptor before it is to be unmounted. */
  readonly mount: OwnedFd;
  readonly result: MountResult;
}

export interface ServiceStatus {
  readonly version: string;
  /** What the kernel of this host can do, by the names in `features.ts`. */
  readonly features: readonly string[];
  readonly policy: PolicySummary;
}

/**
 * A connection to the service. Every method but the `Async` ones blocks the calling thread until the service has answered, or the time-out
 * is over. All throw `RequestError`. Descriptors that are passed in stay the caller's; those that come out are the caller's to close.
 */
export interface MountClient extends Disposable {
  /** Where the service was reached, as `--address` takes it. */
  readonly address: string;
  /** `image`: an fs-verity digest, or a name in one of the service's repositories. */
  mountImage(image: string, options?: MountOptions): ReceivedMount;
  mountImageAsync(image: string, options?: MountOptions): Promise<ReceivedMount>;
  /** `file`: the image, open for reading. `objects`: object stores, as `openObjectStores` opens them, searched in this order. */
  mountFile(file: Fd, objects: readonly Fd[], options?: MountOptions): ReceivedMount;
  mountFileAsync(file: Fd, objects: readonly Fd[], options?: MountOptions): Promise<ReceivedMount>;
  /** What the policy says, and why. Mounts nothing. */
  checkImage(image: string, options?: ImageOptions): CheckReport;
  checkImageAsync(image: string, options?: ImageOptions): Promise<CheckReport>;
  checkFile(file: Fd, objects: readonly Fd[], options?: ImageOptions): CheckReport;
  /** The images the caller may mount. */
  listImages(): ImageEntry[];
  /** The caller's live mounts; root sees everybody's. */
  listMounts(): MountEntry[];
  status(): ServiceStatus;
  /** Has the service read its policy again. For root. */
  reload(): void;
  close(): void;
}

/** Connects to the service, blocking the thread. Throws `RequestError`. */
export function connect(options: ConnectOptions = {}): MountClient {
  const { connection, address } = openService(options);
  return createMountClient(connection, formatAddress(address));
}

export function createMountClient(connection: Connection, address: string): MountClient {
  const perform = <T>({ call, read }: Exchange<T>): T => readReply(connection.call(call), read);
  const performAsync = async <T>({ call, read }: Exchange<T>): Promise<T> => readReply(await connection.callAsync(call), read);
  return {
    address,
    mountImage: (image, options) => inUserns(options, (userns) => perform(mountImage(image, userns, options))),
    mountImageAsync: (image, options) => inUserns(options, (userns) => performAsync(mountImage(image, userns, options))),
    mountFile: (file, objects, options) => inUserns(options, (userns) => perform(mountFile(file, objects, userns, options))),
    mountFileAsync: (file, objects, options) =>
      inUserns(options, (userns) => performAsync(mountFile(file, objects, userns, options))),
    checkImage: (image, options) => perform(checkImage(image, options)),
    checkImageAsync: (image, options) => performAsync(checkImage(image, options)),
    checkFile: (file, objects, options) => perform(checkFile(file, objects, options)),
    listImages: () => perform(exchange('ListImages', [[]], [], onlyDict(decodeImageEntries))),
    listMounts: () => perform(exchange('ListMounts', [[]], [], onlyDict(decodeMountEntries))),
    status: () => perform({ call: GET_ALL, read: onlyDict(decodeStatus) }),
    reload: () => perform(exchange('Reload', [], [], () => undefined)),
    close: connection.close,
    [Symbol.dispose]: connection.close,
  };
}

interface Exchange<T> {
  readonly call: MethodCall;
  readonly read: (reply: Reply) => T;
}

function exchange<T>(member: string, body: readonly unknown[], fds: readonly Fd[], read: (reply: Reply) => T): Exchange<T> {
  const described = findMember(MOUNT_INTERFACE, member);
  if (described === undefined) throw new Error(`no method ${member}`);
  const signature = signatureOf(described.in);
  const answers = signatureOf(described.out);
  return { call: { path: OBJECT_PATH, interface: INTERFACE, member, signature, body, fds, answers }, read };
}

/** A rule may leave a mount to polkit, which asks a person where there is an agent, and refuses at once where there is none. */
function mayAsk<T>({ call, read }: Exchange<T>): Exchange<T> {
  return { call: { ...call, allowInteraction: true }, read };
}

function mountImage(image: string, userns: Fd, options: ImageOptions = {}): Exchange<ReceivedMount> {
  return mayAsk(exchange('MountImage', [image, 0, writeOptions(options)], [userns], readMount));
}

function mountFile(file: Fd, objects: readonly Fd[], userns: Fd, options: ImageOptions = {}): Exchange<ReceivedMount> {
  const fds = [userns, file, ...objects];
  return mayAsk(exchange('MountFile', [1, objects.map((_, index) => index + 2), 0, writeOptions(options)], fds, readMount));
}

function checkImage(image: string, options: ImageOptions = {}): Exchange<CheckReport> {
  return exchange('CheckImage', [image, writeOptions(options)], [], onlyDict(decodeCheckReport));
}

function checkFile(file: Fd, objects: readonly Fd[], options: ImageOptions = {}): Exchange<CheckReport> {
  const body = [0, objects.map((_, index) => index + 1), writeOptions(options)];
  return exchange('CheckFile', body, [file, ...objects], onlyDict(decodeCheckReport));
}

/** An empty digest is sent, too: to leave it out would be to check nothing. */
function writeOptions({ digest, nosuid, noexec, signature }: ImageOptions = {}): Dict {
  const options: [string, ReturnType<typeof variant>][] = [];
  if (digest !== undefined) options.push(['digest', variant('s', digest)]);
  if (nosuid === true) options.push(['nosuid', variant('b', true)]);
  if (noexec === true) options.push(['noexec', variant('b', true)]);
  if (signature !== undefined) options.push(['signature', variant('ay', signature)]);
  return options;
}

function inUserns<T>(options: MountOptions | undefined, use: (userns: Fd) => T): T {
  if (options?.userns !== undefined) return use(options.userns);
  // A call has sent its descriptors when it returns, be it a promise.
  using own = openOwnUserns();
  return use(own);
}

function readReply<T>(reply: Reply, read: (reply: Reply) => T): T {
  using _fds = reply.fds;
  try {
    return read(reply);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new RequestError('Failed', error.message, { hint: VERSION_HINT, cause: error });
  }
}

function readMount({ body, fds }: Reply): ReceivedMount {
  const result = decodeMountResult(body[1]);
  const mount = fds.steal(body[0] as number);
  if (mount === undefined) throw new ProtocolError('the service sent no mount');
  return { mount, result };
}

function onlyDict<T>(decode: (dict: unknown) => T): (reply: Reply) => T {
  return ({ body }) => decode(body[0]);
}

const GET_ALL: MethodCall = {
  path: OBJECT_PATH,
  interface: PROPERTIES,
  member: 'GetAll',
  signature: 's',
  body: [INTERFACE],
  answers: 'a{sv}',
};

function decodeStatus(dict: unknown): ServiceStatus {
  const { Version, Features, Policy } = readShapedDict({ Version: 's', Features: 'as', Policy: 'a{sv}' }, dict);
  if (Version === undefined || Features === undefined) throw new ProtocolError('the service did not tell all of its properties');
  return { version: Version as string, features: Features as string[], policy: decodePolicySummary(Policy) };
}
