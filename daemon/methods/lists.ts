import type { FdList } from '../../core/kernel/fd.js';
import { RequestError } from '../../core/wire/errors.js';
import { parseListImages, parseListMounts } from '../../core/wire/requests.js';
import { encodeImageEntry, encodeMountEntry, type ImageEntry } from '../../core/wire/results.js';
import { findTrust } from '../../policy/decide.js';
import { judgedCaller } from '../judged-caller.js';
import { readImageHeader } from '../measure.js';
import { listImages, openListed, type ListedImage } from '../repositories.js';
import { findUntrusted } from '../revocation.js';
import type { Service } from '../service.js';
import { asksForSigners, findSigners } from '../signatures.js';
import type { Caller, Reply } from '../transport/peer.js';

function describe(service: Service, image: ListedImage, caller: Caller): ImageEntry[] {
  const found = image.name === '' ? undefined : { repository: image.repository.path, name: image.name };
  const loaded = service.current();
  const signers = asksForSigners(loaded) ? findSigners(loaded, image.claimed, {}) : {};
  const trust = findTrust(loaded.policy, { digest: image.claimed, found, ...signers }, judgedCaller(loaded, caller), Date.now());
  if (trust.verdict === 'deny' && caller.uid !== 0) return [];
  using file = openListed(image);
  if (!file) return [];
  try {
    const { type } = readImageHeader(file);
    const rule = trust.verdict === 'trusted' ? trust.rule : '';
    return [{ name: image.name, digest: image.claimed, rule, repository: image.repository.path, type }];
  } catch (error) {
    if (error instanceof RequestError) return []; // not an image: nothing anybody could mount
    throw error;
  }
}

/** The images of all repositories that the caller may mount, as far as their digests go: they are not read for a list. Root sees them all, with an empty rule where it may not. */
export function listAllowedImages(service: Service, caller: Caller, body: readonly unknown[], _fds: FdList): Reply {
  parseListImages(body);
  const images = service.current().repositories.flatMap(listImages);
  const entries = images.flatMap((image) => describe(service, image, caller)).map(encodeImageEntry);
  return { signature: 'aa{sv}', body: [entries] };
}

/**
 * The caller's own live mounts; root sees everybody's, and those that are being made of images already found in a repository: who has just taken an image
 * out of it then knows all that will ever be mounted of it. A wait for images that callers hand in would be theirs to draw out.
 */
export async function listOwnMounts(service: Service, caller: Caller, body: readonly unknown[], _fds: FdList): Promise<Reply> {
  parseListMounts(body);
  if (caller.uid === 0) await service.inMaking.wait();
  const mounts = service.accounts.list().filter(({ uid }) => caller.uid === 0 || uid === caller.uid);
  const untrusted = new Set(findUntrusted(service.current(), mounts, Date.now()));
  const entries = mounts.map((mount) => ({ mount, trusted: !untrusted.has(mount) }));
  const encode = ({ mount: { payer: _payer, signer: _signer, ...entry }, trusted }: (typeof entries)[number]) =>
    encodeMountEntry({ ...entry, trusted });
  return { signature: 'aa{sv}', body: [entries.map(encode)] };
}
